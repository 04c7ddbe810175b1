//! Requests with the names that they give themselves, or a proxy gave them, each as a span of its trace.

use axum::{http::HeaderMap, response::Response};

use crate::{
    edge::{NamedCall, Names},
    trace::CallSpan,
};

/// Answers a request for `route` with these headers: what its work logs and writes has its names.
pub(super) async fn answer(
    method: &str,
    route: &str,
    headers: &HeaderMap,
    work: impl Future<Output = Response>,
) -> Response {
    let span = CallSpan::begin_http(method, route);
    let answer = match NamedCall::new(&Names::of(headers), span.clone()) {
        Some(named) => named.carry(work).await,
        None => work.await,
    };
    if let Some(span) = span {
        span.end_http(answer.status().as_u16());
    }
    answer
}
