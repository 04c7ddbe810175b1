//! What an error looks like on the wire: the one place where an [`Error`] becomes a status. Messages are constants;
//! what happened inside is logged here, once, and never sent.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::v1;
use crate::error::{Error, Rejection};

const DOMAIN: &str = "countersign";

/// The status of `error`, which `rpc` met.
pub fn status(rpc: &'static str, error: Error) -> Status {
    log(rpc, &error);
    let (code, reason, message) = describe(&error);
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    match error {
        Error::Overloaded { retry_after } | Error::LoginThrottled { retry_after } => {
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

/// Code, reason and message.
fn describe(error: &Error) -> (Code, &'static str, &'static str) {
    use Code::{
        AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound, PermissionDenied,
        ResourceExhausted, Unauthenticated, Unavailable,
    };
    match error {
        Error::InvalidCredentials => (Unauthenticated, "INVALID_CREDENTIALS", "unknown user or wrong password"),
        Error::Rejected(rejection) => (Unauthenticated, reason(*rejection), "access token not accepted"),
        Error::RefreshTokenInvalid => (Unauthenticated, "REFRESH_TOKEN_INVALID", "refresh token not valid"),
        Error::RefreshTokenReused => {
            (Unauthenticated, "REFRESH_TOKEN_REUSED", "refresh token used again after it was replaced: session ended")
        }
        Error::SessionLimitReached => {
            (FailedPrecondition, "SESSION_LIMIT_REACHED", "the user has as many sessions as it may: end one first")
        }
        Error::CallerNotAllowed => (PermissionDenied, "CALLER_NOT_ALLOWED", "only administrators may do this"),
        Error::Overloaded { .. } => (ResourceExhausted, "OVERLOADED", "too much work is waiting, try again later"),
        Error::LoginThrottled { .. } => {
            (ResourceExhausted, "LOGIN_THROTTLED", "too many wrong passwords, try again later")
        }
        Error::DatabaseUnavailable(_) | Error::Conflict => {
            (Unavailable, "DATABASE_UNAVAILABLE", "the database does not answer, try again")
        }
        Error::RevocationsStale => {
            (Unavailable, "REVOCATIONS_STALE", "this replica's revocation state is too old, try another")
        }
        Error::RestoreUndecided => (
            Unavailable,
            "RESTORE_UNDECIDED",
            "the database was restored from a backup: an operator has to decide about sessions that were opened before",
        ),
        Error::ClockWrong => {
            (Unavailable, "CLOCK_WRONG", "this replica's clock is too far from the database's, try another")
        }
        Error::SigningKeySecret => {
            (FailedPrecondition, "SIGNING_KEY_SECRET", "tokens are signed by a secret key: call Verify")
        }
        Error::ShuttingDown => (Unavailable, "SHUTTING_DOWN", "this replica is stopping, try another"),
        Error::DeadlineExceeded => (DeadlineExceeded, "DEADLINE_EXCEEDED", "the deadline has passed"),
        Error::InvalidArgument(_) => (InvalidArgument, "INVALID_ARGUMENT", "a field is missing or malformed"),
        Error::UserNotFound => (NotFound, "USER_NOT_FOUND", "no such user"),
        Error::UsernameTaken => (AlreadyExists, "USERNAME_TAKEN", "the username is taken"),
        Error::KeyUnusable | Error::Internal(_) => (Internal, "INTERNAL", "internal error"),
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
pub fn rejection(rejection: Rejection) -> v1::Rejection {
    match rejection {
        Rejection::Malformed => v1::Rejection::TokenMalformed,
        Rejection::SignatureInvalid | Rejection::KeyUnknown => v1::Rejection::TokenSignatureInvalid,
        Rejection::Expired => v1::Rejection::TokenExpired,
        Rejection::Revoked => v1::Rejection::TokenRevoked,
        Rejection::AudienceMismatch => v1::Rejection::TokenAudienceMismatch,
    }
}

/// Callers' mistakes are for the caller; what an operator has to look at is logged.
fn log(rpc: &'static str, error: &Error) {
    match error {
        Error::Internal(_) => tracing::error!(rpc, %error, "call failed"),
        Error::DatabaseUnavailable(_) | Error::Conflict | Error::Overloaded { .. } => {
            tracing::warn!(rpc, %error, "call failed");
        }
        Error::InvalidCredentials
        | Error::LoginThrottled { .. }
        | Error::Rejected(_)
        | Error::RefreshTokenInvalid
        | Error::RefreshTokenReused
        | Error::SessionLimitReached
        | Error::CallerNotAllowed
        // That a key cannot be used was said when it was read; anybody can name it.
        | Error::KeyUnusable
        | Error::RevocationsStale
        // Said once by whoever noticed.
        | Error::RestoreUndecided
        | Error::ClockWrong
        | Error::SigningKeySecret
        | Error::ShuttingDown
        | Error::DeadlineExceeded
        | Error::InvalidArgument(_)
        | Error::UserNotFound
        | Error::UsernameTaken => tracing::debug!(rpc, %error, "call refused"),
    }
}
