//! The one error type. Each variant is a decision that a caller can take; libraries' errors are its sources.
//! What of it reaches the wire is decided in `edge/answer.rs` alone. No message holds a secret.

use std::{fmt, time::Duration};

use countersign_token::error::{self as token, Rejection};

/// An error of a library below, kept for the log.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Reasons for which an operation was not done.
#[derive(Debug)]
pub enum Error {
    /// Unknown user, wrong password or disabled user: never told apart (promise P6).
    InvalidCredentials,
    /// The access token is not accepted.
    Rejected(Rejection),
    /// The refresh token is unknown, expired or of a session that has ended.
    RefreshTokenInvalid,
    /// A refresh token was used that had been replaced before; its session has ended.
    RefreshTokenReused,
    /// The password was right, and the user has as many sessions as it may.
    SessionLimitReached,
    /// The policy does not let the caller do this.
    CallerNotAllowed,
    /// The caller calls more often than the policy lets it.
    CallerThrottled {
        /// Time until the next call.
        retry_after: Duration,
    },
    /// More work is waiting than can be done in time.
    Overloaded {
        /// Time after which a retry has a chance.
        retry_after: Duration,
    },
    /// Too many wrong passwords were tried: this one was not looked at.
    LoginThrottled {
        /// Time until the next attempt.
        retry_after: Duration,
    },
    /// The database did not answer, or not in time. A write may or may not have happened.
    DatabaseUnavailable(Source),
    /// The database asks to run the transaction again, or what failed may pass then (`store/error.rs`); nothing was written.
    Conflict,
    /// A token or a password hash names a key that is ours and cannot be used here, as the log says.
    KeyUnusable,
    /// The revocation state is older than the bound.
    RevocationsStale,
    /// The database was restored from a backup, and nobody has decided yet whether the sessions live that it shows.
    RestoreUndecided,
    /// The wall clock of this machine is too far from the database's: nothing is signed here.
    ClockWrong,
    /// Tokens are signed by a secret, which is not given away.
    SigningKeySecret,
    /// The service is stopping.
    ShuttingDown,
    /// The caller's deadline passed.
    DeadlineExceeded,
    /// Fields of the request that are missing, malformed or too large.
    InvalidArgument(Vec<Violation>),
    /// No such user.
    UserNotFound,
    /// The name belongs to another user.
    UsernameTaken,
    /// A defect of this service or of what it finds stored.
    Internal(Source),
}

/// A field of a request and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's name in the request.
    pub field: &'static str,
    /// Description of the values that are accepted. Never the value itself.
    pub description: String,
}

impl Error {
    /// An [`Error::InvalidArgument`] for one field.
    pub fn invalid(field: &'static str, description: impl Into<String>) -> Self {
        Self::InvalidArgument(vec![Violation { field, description: description.into() }])
    }

    /// The outcome of a batch, for another of the callers that were in it.
    pub fn replicate_for_waiter(&self) -> Self {
        match self {
            Self::DatabaseUnavailable(source) => Self::DatabaseUnavailable(source.to_string().into()),
            Self::Conflict => Self::Conflict,
            Self::ShuttingDown => Self::ShuttingDown,
            Self::RefreshTokenInvalid => Self::RefreshTokenInvalid,
            Self::RefreshTokenReused => Self::RefreshTokenReused,
            Self::CallerNotAllowed => Self::CallerNotAllowed,
            Self::RevocationsStale => Self::RevocationsStale,
            Self::ClockWrong => Self::ClockWrong,
            Self::RestoreUndecided => Self::RestoreUndecided,
            Self::Overloaded { retry_after } => Self::Overloaded { retry_after: *retry_after },
            other => Self::internal(other.to_string()),
        }
    }

    /// Makes an [`Error::Internal`].
    pub fn internal(source: impl Into<Source>) -> Self {
        Self::Internal(source.into())
    }
}

impl From<token::Error> for Error {
    fn from(error: token::Error) -> Self {
        match error {
            token::Error::Rejected(rejection) => Self::Rejected(rejection),
            token::Error::KeyUnusable => Self::KeyUnusable,
            token::Error::Stale => Self::RevocationsStale,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidCredentials => f.write_str("unknown user or wrong password"),
            Self::Rejected(rejection) => write!(f, "access token not accepted: {rejection:?}"),
            Self::RefreshTokenInvalid => f.write_str("refresh token not valid"),
            Self::RefreshTokenReused => f.write_str("refresh token reused, session ended"),
            Self::SessionLimitReached => f.write_str("the user has as many sessions as it may"),
            Self::CallerNotAllowed => f.write_str("the caller may not do this"),
            Self::CallerThrottled { .. } => f.write_str("the caller calls too often"),
            Self::Overloaded { .. } => f.write_str("too much work is waiting"),
            Self::LoginThrottled { .. } => f.write_str("too many wrong passwords"),
            Self::DatabaseUnavailable(source) => write!(f, "database unavailable: {source}"),
            Self::Conflict => f.write_str("transaction conflict"),
            Self::KeyUnusable => f.write_str("a key that is needed cannot be used here"),
            Self::RevocationsStale => f.write_str("revocation state too old"),
            Self::RestoreUndecided => {
                f.write_str("the database was restored, and an operator has to decide about its sessions")
            }
            Self::ClockWrong => f.write_str("this machine's clock is wrong"),
            Self::SigningKeySecret => f.write_str("the signing key is a secret"),
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::DeadlineExceeded => f.write_str("deadline exceeded"),
            Self::InvalidArgument(violations) => {
                for (i, violation) in violations.iter().enumerate() {
                    let separator = if i == 0 { "" } else { "; " };
                    write!(f, "{separator}{}: {}", violation.field, violation.description)?;
                }
                Ok(())
            }
            Self::UserNotFound => f.write_str("no such user"),
            Self::UsernameTaken => f.write_str("the username is taken"),
            Self::Internal(source) => write!(f, "internal error: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DatabaseUnavailable(source) | Self::Internal(source) => Some(source.as_ref()),
            _ => None,
        }
    }
}
