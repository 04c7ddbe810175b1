//! Errors on the wire: the one place where an [`Error`] becomes a status. Messages are constants; what happened inside
//! is logged here, once, and never sent.

use std::collections::HashMap;

use countersign_token::error::Rejection;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::v1;
use crate::error::Error;

const DOMAIN: &str = "countersign";

/// The status of `error`, which `rpc` met.
pub(super) fn status(rpc: &'static str, error: Error) -> Status {
    let (code, reason, message, level) = answer(&error);
    match level {
        Level::Error => tracing::error!(rpc, %error, "call failed"),
        Level::Warn => tracing::warn!(rpc, %error, "call failed"),
        Level::Debug => tracing::debug!(rpc, %error, "call refused"),
    }
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    match error {
        Error::Overloaded { retry_after }
        | Error::LoginThrottled { retry_after }
        | Error::CallerThrottled { retry_after } => {
            details.set_retry_info(Some(retry_after));
        }
        Error::InvalidArgument(violations) => {
            for violation in violations {
                details.add_bad_request_violation(violation.field, violation.description);
            }
        }
        _ => {}
    }
    Status::with_error_details(code, message, details)
}

/// Level at which an error is logged: callers' mistakes are for the caller, the others for an operator to look at.
enum Level {
    Error,
    Warn,
    Debug,
}

/// The table of all errors: code, reason and message of the answer, and the level of the log.
fn answer(error: &Error) -> (Code, &'static str, &'static str, Level) {
    use Code::{
        AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound, PermissionDenied,
        ResourceExhausted, Unauthenticated, Unavailable,
    };
    use Level::{Debug, Warn};
    match error {
        Error::InvalidCredentials => (Unauthenticated, "INVALID_CREDENTIALS", "unknown user or wrong password", Debug),
        Error::Rejected(rejection) => (Unauthenticated, reason(*rejection), "access token not accepted", Debug),
        Error::RefreshTokenInvalid => (Unauthenticated, "REFRESH_TOKEN_INVALID", "refresh token not valid", Debug),
        Error::RefreshTokenReused => (
            Unauthenticated,
            "REFRESH_TOKEN_REUSED",
            "refresh token used again after it was replaced: session ended",
            Debug,
        ),
        Error::SessionLimitReached => (
            FailedPrecondition,
            "SESSION_LIMIT_REACHED",
            "the user has as many sessions as it may: end one first",
            Debug,
        ),
        Error::CallerNotAllowed => (PermissionDenied, "CALLER_NOT_ALLOWED", "the caller may not do this", Debug),
        Error::CallerThrottled { .. } => {
            (ResourceExhausted, "CALLER_THROTTLED", "the caller calls too often, try again later", Debug)
        }
        Error::Overloaded { .. } => {
            (ResourceExhausted, "OVERLOADED", "too much work is waiting, try again later", Warn)
        }
        Error::LoginThrottled { .. } => {
            (ResourceExhausted, "LOGIN_THROTTLED", "too many wrong passwords, try again later", Debug)
        }
        Error::DatabaseUnavailable(_) | Error::Conflict => {
            (Unavailable, "DATABASE_UNAVAILABLE", "the database does not answer, try again", Warn)
        }
        Error::RevocationsStale => {
            (Unavailable, "REVOCATIONS_STALE", "this replica's revocation state is too old, try another", Debug)
        }
        // Said once by whoever noticed.
        Error::RestoreUndecided => (
            Unavailable,
            "RESTORE_UNDECIDED",
            "the database was restored from a backup: an operator has to decide about sessions that were opened before",
            Debug,
        ),
        Error::ClockWrong => {
            (Unavailable, "CLOCK_WRONG", "this replica's clock is too far from the database's, try another", Debug)
        }
        Error::SigningKeySecret => {
            (FailedPrecondition, "SIGNING_KEY_SECRET", "tokens are signed by a secret key: call Verify", Debug)
        }
        Error::ShuttingDown => (Unavailable, "SHUTTING_DOWN", "this replica is stopping, try another", Debug),
        Error::DeadlineExceeded => (DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline has passed", Debug),
        Error::InvalidArgument(_) => (InvalidArgument, "INVALID_ARGUMENT", "a field is missing or malformed", Debug),
        Error::UserNotFound => (NotFound, "USER_NOT_FOUND", "no such user", Debug),
        Error::UsernameTaken => (AlreadyExists, "USERNAME_TAKEN", "the username is taken", Debug),
        // That a key cannot be used was said when it was read; anybody can name it.
        Error::KeyUnusable => (Internal, "INTERNAL", "internal error", Debug),
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

/// The same reasons in the answers of VerifyBatch.
pub(super) fn rejection(rejection: Rejection) -> v1::Rejection {
    match rejection {
        Rejection::Malformed => v1::Rejection::TokenMalformed,
        Rejection::SignatureInvalid | Rejection::KeyUnknown => v1::Rejection::TokenSignatureInvalid,
        Rejection::Expired => v1::Rejection::TokenExpired,
        Rejection::Revoked => v1::Rejection::TokenRevoked,
        Rejection::AudienceMismatch => v1::Rejection::TokenAudienceMismatch,
    }
}
