//! Probes of orchestrators.

use axum::{Router, extract::State, http::StatusCode, routing::get};

use super::readiness::{Readiness, STARTING};

pub(super) fn routes() -> Router<Readiness> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz))
}

/// The process runs.
async fn livez() -> &'static str {
    "ok\n"
}

/// Verify can answer, and goes on doing so.
async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    let fresh = readiness.built.get().map(|built| built.auth.revocations().state().fresh(None).is_ok());
    match fresh {
        _ if *readiness.stopping.borrow() => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        None => (StatusCode::SERVICE_UNAVAILABLE, STARTING),
        Some(false) => (StatusCode::SERVICE_UNAVAILABLE, "revocation state too old\n"),
        Some(true) => (StatusCode::OK, "ok\n"),
    }
}
