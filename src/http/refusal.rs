//! Refusals over HTTP: status and JSON of an error, and of a denied request.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    authz::{Denial, identity::challenge},
    edge::{Answer, CalledBy, Class, Failures, retry_after},
    error::Error,
};

/// The status of a class of errors.
pub(super) fn status(class: Class) -> StatusCode {
    match class {
        Class::InvalidArgument => StatusCode::BAD_REQUEST,
        Class::Unauthenticated => StatusCode::UNAUTHORIZED,
        Class::PermissionDenied => StatusCode::FORBIDDEN,
        Class::NotFound => StatusCode::NOT_FOUND,
        Class::AlreadyExists | Class::FailedPrecondition => StatusCode::CONFLICT,
        Class::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Class::Unavailable | Class::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
        Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to an error that a call met, which is said in the log.
pub(super) fn of(failures: &Failures, call: &'static str, by: &CalledBy, error: &Error) -> Response {
    failures.log(call, by, error);
    let Answer { class, reason, message, .. } = Answer::of(error);
    refusal(status(class), reason, message, retry_after(error))
}

/// The answer to a request that may not pass. The body of what is no call of ours may be as small as this.
pub(super) fn denied(denial: &Denial) -> Response {
    refusal(status(denial.class), denial.reason, denial.message, denial.retry_after)
}

/// An answer that says no: a status, a reason for programs, a message for people.
pub(super) fn refusal(status: StatusCode, reason: &str, message: &str, retry_after: Option<Duration>) -> Response {
    let mut response = (status, Json(json!({ "error": reason, "message": message }))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::UNAUTHORIZED
        && let Ok(challenge) = HeaderValue::from_str(&challenge(reason))
    {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    let pause = retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(Duration::from_secs(1)));
    if let Some(pause) = pause {
        headers.insert(header::RETRY_AFTER, pause.as_secs().max(1).into());
    }
    response
}
