//! The client side of `grpc.health.v1`, for `countersign healthcheck`.

use std::{net::SocketAddr, time::Duration};

use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::error::Error;

/// Passes if the server at `addr` says SERVING within `timeout`.
///
/// # Errors
/// [`Error::Internal`] when it says anything else or nothing.
pub async fn check_health(addr: SocketAddr, timeout: Duration) -> Result<(), Error> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(Error::internal)?;
    let endpoint = endpoint.connect_timeout(timeout).timeout(timeout);
    let channel = endpoint.connect().await.map_err(Error::internal)?;
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(request).await.map_err(Error::internal)?;
    match answer.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ => Err(Error::internal("not serving")),
    }
}
