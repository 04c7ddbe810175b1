//! The HTTP side: the only code that knows axum. Public keys and discovery for verifiers, probes for orchestrators.

mod discovery;
mod readiness;
mod ready_check;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::watch;

use self::{
    discovery::{CACHED, JWKS_PATH},
    readiness::{Built, STARTING},
};
pub use self::{readiness::Readiness, ready_check::check_ready};
use crate::net::{self, Port};

/// Serves on a port until `drain` says so, and then until the calls under way are done.
pub async fn serve(port: Port, readiness: Readiness, drain: watch::Receiver<bool>) {
    let router = Router::new()
        .route(JWKS_PATH, get(jwks))
        .route("/.well-known/openid-configuration", get(discovery::metadata))
        .route("/.well-known/oauth-authorization-server", get(discovery::metadata))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(readiness);
    net::serve(port, router, drain).await;
}

/// The public keys (RFC 7517 section 5). Served in an outage too: a verifier that keeps its old set does no better.
async fn jwks(Built(auth): Built, request: HeaderMap) -> Response {
    let Ok(jwks) = auth.keys.ring().jwks() else {
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

/// The process runs.
async fn livez() -> &'static str {
    "ok\n"
}

/// Verify can answer, and goes on doing so.
async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    let fresh = readiness.auth.get().map(|auth| auth.revocations().state().fresh(None).is_ok());
    match fresh {
        _ if *readiness.stopping.borrow() => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, STARTING),
        Some(false) => (StatusCode::SERVICE_UNAVAILABLE, "revocation state too old\n"),
        Some(true) => (StatusCode::OK, "ok\n"),
    }
}
