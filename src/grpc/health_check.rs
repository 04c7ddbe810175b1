//! The client side of `grpc.health.v1`, for `countersign healthcheck`.

use std::{sync::Mutex, time::Duration};

use tokio::time::timeout;
use tonic::{Status, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    domain::{
        listen::ListenAddr,
        unreached::{no_answer, unreached},
    },
    error::Error,
    net::{self, Security},
};

/// The setting by which errors name the address.
const SETTING: &str = "grpc-addr";

/// Passes if the server at `addr` says SERVING within `limit`.
///
/// # Errors
/// [`Error::InvalidArgument`] when it says anything else or nothing.
pub async fn check_health(addr: &ListenAddr, security: Security, limit: Duration) -> Result<(), Error> {
    let said = |what: String| Error::invalid(SETTING, what);
    timeout(limit, ask(addr, security)).await.unwrap_or_else(|_| Err(no_answer(addr))).map_err(said)
}

/// Fails with what there is to say.
async fn ask(addr: &ListenAddr, security: Security) -> Result<(), String> {
    let socket = net::connect(addr, security).await.map_err(|error| unreached(addr, &error))?;
    let socket = Mutex::new(Some(socket));
    // One question goes over one connection.
    let connector = tower::service_fn(move |_| {
        let socket = socket.lock().ok().and_then(|mut socket| socket.take());
        async move { socket.ok_or_else(|| std::io::Error::other("the connection has gone")) }
    });
    let other = || format!("{addr} does not answer as a gRPC server: {ADVICE}");
    let endpoint = Endpoint::from_static("http://localhost");
    let channel = endpoint.connect_with_connector(connector).await.map_err(|_| other())?;
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    match answer.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(status) => Err(format!("{addr} says {}", status.as_str_name())),
        Err(status) if is_of_the_way(&status) => Err(other()),
        Err(status) => Err(format!("{addr} refuses to answer: {}", status.code())),
    }
}

const ADVICE: &str = "look whether it is the port of gRPC, and give --tls-no-verify if it speaks TLS";

/// True for a status that no server has sent.
fn is_of_the_way(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}
