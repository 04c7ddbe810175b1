//! The public keys (RFC 7517 section 5). Served in an outage too: a verifier that keeps its old set does no better.

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::readiness::Built;

/// The header Cache-Control, with the time that `domain::key::JWKS_MAX_AGE` counts on.
pub(super) const CACHED: &str = "public, max-age=300";

pub(super) async fn jwks(Built(built): Built, request: HeaderMap) -> Response {
    let Ok(jwks) = built.auth.keys.ring().jwks() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers = [(header::CACHE_CONTROL, CACHED), (header::ETAG, &jwks.etag)];
    if has(&request, &jwks.etag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(header::CONTENT_TYPE, "application/jwk-set+json")], jwks.json).into_response()
}

/// True if the caller has the content of this name already (RFC 9110 section 13.1.2).
fn has(request: &HeaderMap, etag: &str) -> bool {
    let known = request.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).map(str::trim).any(|name| name == "*" || weak(name) == etag)
}

/// A name as it is compared.
fn weak(name: &str) -> &str {
    name.strip_prefix("W/").unwrap_or(name)
}
