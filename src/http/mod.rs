//! The HTTP side: the only code that knows axum. Public keys for verifiers, and probes for orchestrators.

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

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
        .route("/.well-known/jwks.json", get(jwks))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(auth);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await.map_err(Error::internal)
}

/// The public keys (RFC 7517 section 5).
async fn jwks(State(auth): State<Arc<Auth>>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, auth.keys.jwks.clone())
}

/// The process runs.
async fn livez() -> &'static str {
    "ok\n"
}

/// Verify can answer.
async fn readyz(State(auth): State<Arc<Auth>>) -> impl IntoResponse {
    match auth.accounts.revocations.fresh(None) {
        Ok(_) => (StatusCode::OK, "ok\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "revocation state too old\n"),
    }
}
