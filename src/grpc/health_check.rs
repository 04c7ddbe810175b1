//! The client side of `grpc.health.v1`, for `countersign healthcheck`.

use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    domain::listen::ListenAddr,
    error::Error,
    net::{self, Security},
};

/// Passes if the server at `addr` says SERVING within `timeout`.
///
/// # Errors
/// [`Error::Internal`] when it says anything else or nothing.
pub async fn check_health(addr: &ListenAddr, security: Security, timeout: Duration) -> Result<(), Error> {
    let endpoint = Endpoint::from_static("http://localhost").connect_timeout(timeout).timeout(timeout);
    let addr = addr.clone();
    let connector = tower::service_fn(move |_| {
        let addr = addr.clone();
        async move { net::connect(&addr, security).await }
    });
    let channel = endpoint.connect_with_connector(connector).await.map_err(Error::internal)?;
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(request).await.map_err(Error::internal)?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ => Err(Error::internal("not serving")),
    }
}
