//! Errors, and what they are on the wire.

use std::{borrow::Cow, collections::HashMap, fmt};

use countersign_token::error::Rejection;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The reason why something was not done, by the name that the service gives it (`countersign-reason`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Cow<'static, str>);

impl Reason {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// The name, such as `TOKEN_EXPIRED`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The reason why a token was not verified, or a call failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The token is missing, not valid, or dead: whoever sent it has to log in, or to refresh it.
    Unauthenticated(Reason),
    /// The token is good, and its user lacks a role, or the caller may not make this call.
    Forbidden(Reason),
    /// Nothing can be said now: nothing was heard for too long, or the service cannot be reached. Try again.
    Unavailable(Reason),
    /// The call was refused for another reason, which its status says.
    Refused(Box<Status>),
    /// The settings of this client cannot be used.
    Invalid(String),
}

pub(crate) const TOKEN_MISSING: Reason = Reason::new("TOKEN_MISSING");
pub(crate) const ROLE_MISSING: Reason = Reason::new("ROLE_MISSING");
pub(crate) const REVOCATIONS_STALE: Reason = Reason::new("REVOCATIONS_STALE");
const KEY_UNUSABLE: Reason = Reason::new("KEY_UNUSABLE");
const UNREACHABLE: Reason = Reason::new("UNREACHABLE");

impl Error {
    /// The reason by its name. `INVALID_SETTINGS` for settings of this client; for a status without a reason the name of its code.
    pub fn reason(&self) -> &str {
        match self {
            Self::Unauthenticated(reason) | Self::Forbidden(reason) | Self::Unavailable(reason) => reason.as_str(),
            Self::Refused(status) => reason_of(status).unwrap_or("REFUSED"),
            Self::Invalid(_) => "INVALID_SETTINGS",
        }
    }

    /// True if it may be different in a moment.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The error of a status. A status without one of our reasons says nothing of a token.
    pub(crate) fn of(status: Status) -> Self {
        let reason = || reason_of(&status).map(|name| Reason(name.to_owned().into()));
        match (status.code(), reason()) {
            (Code::Unauthenticated, Some(reason)) => Self::Unauthenticated(reason),
            (Code::PermissionDenied, Some(reason)) => Self::Forbidden(reason),
            (Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled, reason) => {
                Self::Unavailable(reason.unwrap_or(UNREACHABLE))
            }
            // An answer of something between, or of no Countersign.
            (Code::Unauthenticated | Code::PermissionDenied | Code::Unknown | Code::Internal, None) => {
                Self::Unavailable(UNREACHABLE)
            }
            _ => Self::Refused(Box::new(status)),
        }
    }

    /// The same reason, as one for which nothing can be said of any token: what befell this service's own call.
    pub(crate) fn into_outage(self) -> Self {
        let reason = self.reason().to_owned();
        Self::Unavailable(Reason(reason.into()))
    }

    /// The status of this error, with the reason as the service says it.
    pub fn to_status(&self) -> Status {
        let code = match self {
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Forbidden(_) => Code::PermissionDenied,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Refused(status) => return (**status).clone(),
            Self::Invalid(_) => Code::Internal,
        };
        let message = match self {
            Self::Unauthenticated(_) => "access token not accepted",
            Self::Forbidden(_) => "not allowed",
            _ => "authentication is not available",
        };
        let info = ErrorDetails::with_error_info(self.reason(), "countersign", HashMap::new());
        let mut status = Status::with_error_details(code, message, info);
        if let Ok(reason) = self.reason().parse() {
            status.metadata_mut().insert("countersign-reason", reason);
        }
        status
    }
}

/// The reason that the service gave.
fn reason_of(status: &Status) -> Option<&str> {
    status.metadata().get("countersign-reason").and_then(|reason| reason.to_str().ok())
}

/// The status with the reason among its metadata, of a service before the trailer as well.
pub(crate) fn with_reason(mut status: Status) -> Status {
    if reason_of(&status).is_none()
        && let Some(info) = status.get_details_error_info().filter(|info| info.domain == "countersign")
        && let Ok(reason) = info.reason.parse()
    {
        status.metadata_mut().insert("countersign-reason", reason);
    }
    status
}

impl From<countersign_token::error::Error> for Error {
    fn from(error: countersign_token::error::Error) -> Self {
        use countersign_token::error::Error as E;
        match error {
            E::Rejected(rejection) => Self::Unauthenticated(Reason::new(match rejection {
                Rejection::Malformed => "TOKEN_MALFORMED",
                Rejection::SignatureInvalid | Rejection::KeyUnknown => "TOKEN_SIGNATURE_INVALID",
                Rejection::Expired => "TOKEN_EXPIRED",
                Rejection::Revoked => "TOKEN_REVOKED",
                Rejection::AudienceMismatch => "TOKEN_AUDIENCE_MISMATCH",
            })),
            E::KeyUnusable => Self::Unavailable(KEY_UNUSABLE),
            E::Stale => Self::Unavailable(REVOCATIONS_STALE),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthenticated(reason) => write!(f, "access token not accepted: {reason}"),
            Self::Forbidden(reason) => write!(f, "not allowed: {reason}"),
            Self::Unavailable(reason) => write!(f, "authentication is not available: {reason}"),
            Self::Refused(status) => write!(f, "refused: {}: {}", self.reason(), status.message()),
            Self::Invalid(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}
