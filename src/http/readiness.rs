//! Readiness of the HTTP port: it is open before the service is built, and while it stops.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use tokio::sync::watch;

use crate::authz::Authorizer;

pub(super) const STARTING: &str = "starting\n";

/// The state of the port: it is open before the service is built, and while it stops.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// The operations, once there are any.
    pub built: Arc<OnceLock<Authorizer>>,
    /// Says that the service stops, and that requests are better sent elsewhere.
    pub stopping: watch::Receiver<bool>,
    /// True if the port speaks TLS.
    pub speaks_tls: bool,
}

/// The operations, for handlers that cannot do without: before there are any, the answer is 503.
pub(super) struct Built(pub Authorizer);

impl FromRequestParts<Readiness> for Built {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(_: &mut Parts, readiness: &Readiness) -> Result<Self, Self::Rejection> {
        readiness.built.get().map(|built| Self(built.clone())).ok_or((StatusCode::SERVICE_UNAVAILABLE, STARTING))
    }
}
