//! Errors on the wire of gRPC: an [`Error`] becomes a status by the table of all errors (`edge/answer.rs`).

use std::{collections::HashMap, sync::Arc};

use countersign_token::error::Rejection;
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::v1;
use crate::{
    edge::{Answer, Class, retry_after},
    error::Error,
};

const DOMAIN: &str = "countersign";
/// The trailer with the reason alone, for clients that do not want to read the details.
pub(super) const REASON: &str = "countersign-reason";

/// The status of `error`, which goes with it, for the log alone.
pub(super) fn status(error: Error) -> Status {
    let Answer { class, reason, message, .. } = Answer::of(&error);
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    if let Some(pause) = retry_after(&error) {
        details.set_retry_info(Some(pause));
    }
    if let Error::InvalidArgument(violations) = &error {
        for violation in violations {
            details.add_bad_request_violation(violation.field, &violation.description);
        }
    }
    let mut status = with_reason(Status::with_error_details(code(class), message, details), reason);
    status.set_source(Arc::new(error));
    status
}

/// The status that says a class, a reason and a message.
pub(super) fn status_of(class: Class, reason: &'static str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    with_reason(Status::with_error_details(code(class), message, details), reason)
}

fn with_reason(mut status: Status, reason: &'static str) -> Status {
    status.metadata_mut().insert(REASON, MetadataValue::from_static(reason));
    status
}

fn code(class: Class) -> Code {
    match class {
        Class::InvalidArgument => Code::InvalidArgument,
        Class::DeadlineExceeded => Code::DeadlineExceeded,
        Class::NotFound => Code::NotFound,
        Class::AlreadyExists => Code::AlreadyExists,
        Class::PermissionDenied => Code::PermissionDenied,
        Class::ResourceExhausted => Code::ResourceExhausted,
        Class::FailedPrecondition => Code::FailedPrecondition,
        Class::Internal => Code::Internal,
        Class::Unavailable => Code::Unavailable,
        Class::Unauthenticated => Code::Unauthenticated,
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
