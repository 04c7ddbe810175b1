//! Answers to errors, whatever the protocol: the one place where an [`Error`] is given a class, a reason and a message. Messages are
//! constants; what happened inside is logged (`failures.rs`), and never sent.

use std::time::Duration;

use countersign_token::error::Rejection;

use crate::error::Error;

/// The answer to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The class of the error, from which protocols have their codes.
    pub class: Class,
    /// The reason that programs read.
    pub reason: &'static str,
    /// The message that people read.
    pub message: &'static str,
    pub(super) level: Level,
}

/// Classes of errors: those of gRPC's codes that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The caller is to change its request.
    InvalidArgument,
    /// The time of the call is over.
    DeadlineExceeded,
    /// Nothing of that name exists.
    NotFound,
    /// Something of that name exists.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// Too much is asked, now.
    ResourceExhausted,
    /// Something else has to be done before.
    FailedPrecondition,
    /// A defect.
    Internal,
    /// An outage: another replica, or a later try, may answer.
    Unavailable,
    /// A credential is missing or not accepted.
    Unauthenticated,
}

/// Level at which an error is logged: callers' mistakes are for the caller, the others for an operator to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Level {
    Error,
    Warn,
    Info,
}

impl Answer {
    /// The answer to an error: the table of all.
    pub fn of(error: &Error) -> Self {
        let (class, reason, message, level) = row(error);
        Self { class, reason, message, level }
    }
}

/// The pause after which the caller may try again, if the error says so.
pub fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Overloaded { retry_after }
        | Error::LoginThrottled { retry_after }
        | Error::CallerThrottled { retry_after } => Some(*retry_after),
        _ => None,
    }
}

fn row(error: &Error) -> (Class, &'static str, &'static str, Level) {
    use Class::{
        AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound, PermissionDenied,
        ResourceExhausted, Unauthenticated, Unavailable,
    };
    use Level::{Info, Warn};
    match error {
        Error::InvalidCredentials => (Unauthenticated, "INVALID_CREDENTIALS", "unknown user or wrong password", Info),
        Error::Rejected(rejection) => (Unauthenticated, reason(*rejection), "access token not accepted", Info),
        Error::RefreshTokenInvalid => (Unauthenticated, "REFRESH_TOKEN_INVALID", "refresh token not valid", Info),
        Error::RefreshTokenReused => (
            Unauthenticated,
            "REFRESH_TOKEN_REUSED",
            "refresh token used again after it was replaced: session ended",
            Info,
        ),
        Error::SessionLimitReached => (
            FailedPrecondition,
            "SESSION_LIMIT_REACHED",
            "the user has as many sessions as it may: end one first",
            Info,
        ),
        Error::CallerNotAllowed => (PermissionDenied, "CALLER_NOT_ALLOWED", "the caller may not do this", Info),
        Error::CallerThrottled { .. } => {
            (ResourceExhausted, "CALLER_THROTTLED", "the caller calls too often, try again later", Info)
        }
        Error::Overloaded { .. } => {
            (ResourceExhausted, "OVERLOADED", "too much work is waiting, try again later", Warn)
        }
        Error::LoginThrottled { .. } => {
            (ResourceExhausted, "LOGIN_THROTTLED", "too many wrong passwords, try again later", Info)
        }
        Error::DatabaseUnavailable(_) | Error::Conflict => {
            (Unavailable, "DATABASE_UNAVAILABLE", "the database does not answer, try again", Warn)
        }
        Error::RevocationsStale => {
            (Unavailable, "REVOCATIONS_STALE", "this replica's revocation state is too old, try another", Info)
        }
        // Said once by whoever noticed.
        Error::RestoreUndecided => (
            Unavailable,
            "RESTORE_UNDECIDED",
            "the database was restored from a backup: an operator has to decide about sessions that were opened before",
            Info,
        ),
        Error::ClockWrong => {
            (Unavailable, "CLOCK_WRONG", "this replica's clock is too far from the database's, try another", Info)
        }
        Error::SigningKeySecret => {
            (FailedPrecondition, "SIGNING_KEY_SECRET", "tokens are signed by a secret key: call Verify", Info)
        }
        Error::ShuttingDown => (Unavailable, "SHUTTING_DOWN", "this replica is stopping, try another", Info),
        Error::DeadlineExceeded => (DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline has passed", Info),
        Error::InvalidArgument(_) => (InvalidArgument, "INVALID_ARGUMENT", "a field is missing or malformed", Info),
        Error::UserNotFound => (NotFound, "USER_NOT_FOUND", "no such user", Info),
        Error::UsernameTaken => (AlreadyExists, "USERNAME_TAKEN", "the username is taken", Info),
        // That a key cannot be used was said when it was read; anybody can name it.
        Error::KeyUnusable => (Internal, "INTERNAL", "internal error", Info),
        Error::Internal(_) => (Internal, "INTERNAL", "internal error", Level::Error),
    }
}

fn reason(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::Malformed => "TOKEN_MALFORMED",
        Rejection::SignatureInvalid | Rejection::KeyUnknown => "TOKEN_SIGNATURE_INVALID",
        Rejection::Expired => "TOKEN_EXPIRED",
        Rejection::Revoked => "TOKEN_REVOKED",
        Rejection::AudienceMismatch => "TOKEN_AUDIENCE_MISMATCH",
    }
}
