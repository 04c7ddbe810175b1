//! Outcomes of logins, refreshes, verifications, and questions of proxies.

use countersign_token::error::Rejection;
use prometheus::Registry;

use super::label::{Counters, label};
use crate::error::Error;

label! {
    /// The result of a Login.
    pub Login as "result" {
        /// A session was opened.
        Ok = "ok",
        /// Unknown user, wrong password or disabled user.
        InvalidCredentials = "invalid_credentials",
        /// Too many wrong passwords before.
        Throttled = "throttled",
        /// The queue of the hashing threads, or the wait for a connection, is too long.
        Overloaded = "overloaded",
        /// The user has as many sessions as it may.
        SessionLimit = "session_limit",
        /// The database, the keys or the clock cannot be relied on.
        Unavailable = "unavailable",
        /// The audience is not one that there is.
        Invalid = "invalid",
        /// Nobody waited for the answer any longer.
        Cancelled = "cancelled",
        /// A defect.
        Internal = "internal",
    }
}

label! {
    /// The outcome of a Refresh.
    pub Refresh as "outcome" {
        /// The next pair was handed out.
        Rotated = "rotated",
        /// The next pair was handed out again.
        Replayed = "replayed",
        /// The next pair was never used: another was handed out.
        Skipped = "skipped",
        /// A token that had been replaced was used again: the session ended.
        Reused = "reused",
        /// The token is unknown, expired, or of a session that has ended.
        Invalid = "invalid",
        /// The caller may not refresh this session.
        NotAllowed = "not_allowed",
        /// The database, the keys or the clock cannot be relied on, or an operator has to decide.
        Unavailable = "unavailable",
        /// A defect.
        Internal = "internal",
    }
}

label! {
    /// The result of verifying an access token.
    pub Verification as "result" {
        /// The token is valid.
        Valid = "valid",
        /// The text is no token.
        Malformed = "malformed",
        /// No key of that name is known.
        KeyUnknown = "key_unknown",
        /// The signature is not that of the key.
        SignatureInvalid = "signature_invalid",
        /// The token has expired.
        Expired = "expired",
        /// The token's session has ended.
        Revoked = "revoked",
        /// The token is for others.
        AudienceMismatch = "audience_mismatch",
        /// The state is too old to say.
        Stale = "stale",
        /// The key cannot be used here.
        KeyUnusable = "key_unusable",
    }
}

label! {
    /// The answer to a proxy that asks about a request.
    pub Decision as "decision" {
        /// The request may pass.
        Allowed = "allowed",
        /// The request may not pass.
        Denied = "denied",
        /// Nothing can be said: the request may not pass, and is not to be blamed.
        Unavailable = "unavailable",
    }
}

/// A Login that is counted when it ends, also if it is dropped in the middle.
#[derive(Debug)]
pub struct CountedLogin<'m> {
    logins: &'m Counters<Login>,
    result: Login,
}

impl CountedLogin<'_> {
    /// Ends it with this result.
    pub fn end(mut self, result: Login) {
        self.result = result;
    }
}

impl Drop for CountedLogin<'_> {
    fn drop(&mut self) {
        self.logins.count(self.result);
    }
}

/// Counts of outcomes.
#[derive(Debug)]
pub struct Outcomes {
    /// Logins.
    pub logins: Counters<Login>,
    /// Refreshes.
    pub refreshes: Counters<Refresh>,
    /// Verified access tokens, of whatever call.
    pub verifications: Counters<Verification>,
    /// Answers to proxies.
    pub decisions: Counters<Decision>,
}

impl Outcomes {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            logins: Counters::new(registry, "countersign_logins_total", "Logins, by what became of them.")?,
            refreshes: Counters::new(registry, "countersign_refreshes_total", "Refreshes, by what became of them.")?,
            verifications: Counters::new(
                registry,
                "countersign_verifications_total",
                "Access tokens that were verified, by whatever call, by the result.",
            )?,
            decisions: Counters::new(
                registry,
                "countersign_decisions_total",
                "Requests that proxies asked about, by the answer.",
            )?,
        })
    }
}

impl Outcomes {
    /// Counts a Login that begins when it ends.
    pub fn login(&self) -> CountedLogin<'_> {
        CountedLogin { logins: &self.logins, result: Login::Cancelled }
    }
}

impl Login {
    /// The result of a Login that failed.
    pub fn failed(error: &Error) -> Self {
        match error {
            Error::InvalidCredentials => Self::InvalidCredentials,
            Error::LoginThrottled { .. } | Error::CallerThrottled { .. } => Self::Throttled,
            Error::Overloaded { .. } => Self::Overloaded,
            Error::SessionLimitReached => Self::SessionLimit,
            Error::InvalidArgument(_) => Self::Invalid,
            error if is_outage(error) => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl Refresh {
    /// The outcome of a Refresh that failed.
    pub fn failed(error: &Error) -> Self {
        match error {
            Error::RefreshTokenReused => Self::Reused,
            Error::RefreshTokenInvalid | Error::Rejected(_) | Error::InvalidArgument(_) => Self::Invalid,
            Error::CallerNotAllowed => Self::NotAllowed,
            error if is_outage(error) => Self::Unavailable,
            _ => Self::Internal,
        }
    }
}

impl Verification {
    /// The result for a token that was refused.
    pub fn refused(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Malformed => Self::Malformed,
            Rejection::KeyUnknown => Self::KeyUnknown,
            Rejection::SignatureInvalid => Self::SignatureInvalid,
            Rejection::Expired => Self::Expired,
            Rejection::Revoked => Self::Revoked,
            Rejection::AudienceMismatch => Self::AudienceMismatch,
        }
    }

    /// The result of a verification that failed.
    pub fn failed(error: &countersign_token::error::Error) -> Self {
        use countersign_token::error::Error as E;
        match error {
            E::Rejected(rejection) => Self::refused(*rejection),
            E::Stale => Self::Stale,
            E::KeyUnusable => Self::KeyUnusable,
        }
    }
}

/// True for what another try, or another replica, may answer.
fn is_outage(error: &Error) -> bool {
    matches!(
        error,
        Error::DatabaseUnavailable(_)
            | Error::Conflict
            | Error::KeyUnusable
            | Error::RevocationsStale
            | Error::RestoreUndecided
            | Error::ClockWrong
            | Error::ShuttingDown
            | Error::DeadlineExceeded
            | Error::Overloaded { .. }
    )
}
