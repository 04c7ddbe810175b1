//! The gRPC port: our services, health and reflection, and the limits of HTTP/2 that tonic leaves open.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use countersign_proto::DESCRIPTORS;
use countersign_token::clock::Clock;
use tokio::{net::TcpListener, sync::watch};
use tonic::{
    service::{Routes, RoutesBuilder},
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::Layer as _;

use super::{
    contract::{Contract, ContractLayer},
    message_size::{BySize, SMALL},
    service::Service,
    services::{auth_service_server::AuthServiceServer, user_service_server::UserServiceServer},
};
use crate::{
    auth::Auth,
    edge::{Callers, Defaults, Gate},
    error::Error,
};

const MAX_HEADER_LIST: u32 = 8 * 1024;
const MAX_STREAMS: u32 = 256;
/// Streams that a client makes and resets at once (CVE-2023-44487, CVE-2025-8671); tonic's defaults are no limit.
const MAX_RESETS: usize = 256;
const MAX_PENDING_RESETS: usize = 20;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Tells `grpc.health.v1` whether to send requests here. Everything is NOT_SERVING at first.
#[derive(Clone)]
pub struct Health(HealthReporter);

impl Health {
    /// A reporter that says NOT_SERVING.
    pub async fn new() -> Self {
        let health = Self(HealthReporter::new());
        health.not_serving().await;
        health
    }

    /// Requests are welcome.
    pub async fn serving(&self) {
        self.set(ServingStatus::Serving).await;
    }

    /// Requests are better sent to another replica.
    pub async fn not_serving(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    /// Sets the status of the server (`""`) and of both services.
    async fn set(&self, status: ServingStatus) {
        for name in ["", "countersign.v1.AuthService", "countersign.v1.UserService"] {
            self.0.set_service_status(name, status).await;
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health(..)")
    }
}

/// Serves until `drain` says so, and then until the calls under way are done.
///
/// # Errors
/// [`Error::Internal`] when the port fails.
pub async fn serve(
    listener: TcpListener,
    auth: Arc<Auth>,
    callers: Callers,
    health: Health,
    mut drain: watch::Receiver<bool>,
) -> Result<(), Error> {
    let gate = gate(&auth, callers);
    let service = Service::new(auth, drain.clone());
    let routes = routes(&service, health)?;
    // The sender outlives the port; if it did not, stopping would be right as well.
    let shutdown = async move { drop(drain.wait_for(|drain| *drain).await) };
    serve_behind(gate, listener, routes, shutdown).await
}

/// Serves routes of others on a port with the same limits.
///
/// # Errors
/// [`Error::Internal`] when the port fails.
pub async fn serve_routes(
    listener: TcpListener,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let gate = Gate::new(Callers::new(Defaults::Open, None), None, Clock::system());
    serve_behind(Arc::new(gate), listener, routes, shutdown).await
}

fn gate(auth: &Auth, callers: Callers) -> Arc<Gate> {
    Arc::new(Gate::new(callers, Some(Arc::clone(&auth.base.audit)), auth.base.clock.clone()))
}

async fn serve_behind(
    gate: Arc<Gate>,
    listener: TcpListener,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_header_list_size(MAX_HEADER_LIST)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(ContractLayer(gate))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
        .map_err(Error::internal)
}

/// The RPCs of the contract, as they are called without a port.
pub type Services = Contract<Routes>;

/// The RPCs of the contract, for whoever calls them in the same process. Streams go on until they are dropped.
pub fn services(auth: Arc<Auth>, callers: Callers) -> Services {
    let gate = gate(&auth, callers);
    let mut routes = Routes::builder();
    add_contract(&mut routes, &Service::new(auth, watch::Sender::new(false).subscribe()));
    ContractLayer(gate).layer(routes.routes())
}

fn add_contract(routes: &mut RoutesBuilder, service: &Service) {
    routes
        .add_service(BySize::new(|max| AuthServiceServer::new(service.clone()).max_decoding_message_size(max)))
        .add_service(BySize::new(|max| UserServiceServer::new(service.clone()).max_decoding_message_size(max)));
}

fn routes(service: &Service, health: Health) -> Result<Routes, Error> {
    let health = tonic_health::server::HealthService::from_health_reporter(health.0);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    add_contract(&mut routes, service);
    routes
        .add_service(tonic_health::pb::health_server::HealthServer::new(health).max_decoding_message_size(SMALL))
        .add_service(reflection().build_v1().map_err(Error::internal)?.max_decoding_message_size(SMALL))
        .add_service(reflection().build_v1alpha().map_err(Error::internal)?.max_decoding_message_size(SMALL));
    Ok(routes.routes())
}
