//! The HTTP side: the only code that knows axum. Public keys and discovery for verifiers, probes for orchestrators.

mod discovery;

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use self::discovery::{CACHED, JWKS_PATH};
use crate::{auth::Auth, error::Error};

/// Serves until `shutdown` resolves, and then until the calls under way are done.
///
/// # Errors
/// [`Error::Internal`] when the port fails.
pub async fn serve(
    listener: TcpListener,
    auth: Arc<Auth>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    let router = Router::new()
        .route(JWKS_PATH, get(jwks))
        .route("/.well-known/openid-configuration", get(discovery::metadata))
        .route("/.well-known/oauth-authorization-server", get(discovery::metadata))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(auth);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await.map_err(Error::internal)
}

/// The public keys (RFC 7517 section 5). Served in an outage too: a verifier that keeps its old set does no better.
async fn jwks(State(auth): State<Arc<Auth>>, request: HeaderMap) -> Response {
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

/// Verify can answer.
async fn readyz(State(auth): State<Arc<Auth>>) -> impl IntoResponse {
    match auth.revocations().state().fresh(None) {
        Ok(_) => (StatusCode::OK, "ok\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "revocation state too old\n"),
    }
}
