//! Errors on the wire of gRPC: an [`Error`] becomes a status by the table of all errors (`edge/answer.rs`).

use std::{collections::HashMap, fmt, sync::Arc};

use countersign_token::error::Rejection;
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::v1;
use crate::{
    edge::{Answer, Class, NamedCall, retry_after},
    error::Error,
};

const DOMAIN: &str = "countersign";
/// The trailer with the reason alone, for clients that do not want to read the details.
pub(super) const REASON: &str = "countersign-reason";

/// An error of a call whose names are in its message.
#[derive(Debug)]
pub(super) struct NamedError {
    pub(super) error: Error,
    pub(super) call: NamedCall,
}

impl fmt::Display for NamedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for NamedError {}

/// The status of `error`, which goes with it, for the log alone.
pub(super) fn status(error: Error) -> Status {
    let mut status = said(&error);
    status.set_source(Arc::new(error));
    status
}

/// The status of an error of a call whose names are in its message. Both go with it, for the log alone.
pub(super) fn status_of_named(error: Error, call: NamedCall) -> Status {
    let mut status = said(&error);
    status.set_source(Arc::new(NamedError { error, call }));
    status
}

fn said(error: &Error) -> Status {
    let Answer { class, reason, message, .. } = Answer::of(error);
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    if let Some(pause) = retry_after(error) {
        details.set_retry_info(Some(pause));
    }
    if let Error::InvalidArgument(violations) = error {
        for violation in violations {
            details.add_bad_request_violation(violation.field, &violation.description);
        }
    }
    with_reason(Status::with_error_details(code(class), message, details), reason)
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
