//! The gRPC port: our services, health and reflection.

use std::{fmt, sync::Arc};

use countersign_proto::DESCRIPTORS;
use countersign_token::clock::Clock;
use http::Request;
use hyper::body::Incoming;
use tokio::sync::watch;
use tonic::{
    body::Body,
    codec::CompressionEncoding,
    service::{Routes, RoutesBuilder},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _};

use super::xds::{AggregatedDiscoveryServiceServer, ExtensionConfigDiscoveryServiceServer, Xds};
use super::{
    call_watch::CallWatch,
    contract::{Contract, ContractLayer},
    drain::UntilDrain,
    ext_authz::{self, AuthorizationServer, ExtAuthz},
    message_size::{BySize, SMALL, WITH_BODY},
    service::Service,
    services::{auth_service_server::AuthServiceServer, user_service_server::UserServiceServer},
};
use crate::{
    auth::Auth,
    authz::Authorizer,
    edge::{Callers, Defaults, Failures, Gate},
    error::Error,
    net::{self, Port, Protocol},
};

/// The encoding that requests may have. The limits of their sizes hold for what it inflates to.
const GZIP: CompressionEncoding = CompressionEncoding::Gzip;

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

    /// Sets the status of the server (`""`) and of each service.
    async fn set(&self, status: ServingStatus) {
        for name in ["", "countersign.v1.AuthService", "countersign.v1.UserService", ext_authz::SERVICE] {
            self.0.set_service_status(name, status).await;
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health(..)")
    }
}

/// The ports of gRPC.
#[derive(Debug)]
pub struct GrpcPorts {
    /// The port of callers.
    pub main: Port,
    /// A port of administrators' own; what is for them is not on the other one then.
    pub admin: Option<Port>,
}

impl From<Port> for GrpcPorts {
    fn from(main: Port) -> Self {
        Self { main, admin: None }
    }
}

/// Serves on the ports until `drain` says so, and then until the calls under way are done.
///
/// # Errors
/// [`Error::Internal`] for descriptors that cannot be read.
pub async fn serve(
    ports: GrpcPorts,
    authorizer: Authorizer,
    callers: Callers,
    health: Health,
    drain: watch::Receiver<bool>,
) -> Result<(), Error> {
    let (gate, watch) = (gate(&authorizer.auth, callers), watch(&authorizer));
    let routes = routes(authorizer, health, &drain)?;
    match ports {
        GrpcPorts { main, admin: None } => serve_behind(gate, watch, main, routes, drain).await,
        GrpcPorts { main, admin: Some(admin) } => {
            let beside = Arc::new(gate.without_administration());
            let main = serve_behind(beside, watch.clone(), main, routes.clone(), drain.clone());
            tokio::join!(main, serve_behind(gate, watch, admin, routes, drain));
        }
    }
    Ok(())
}

/// Serves routes of others on a port with the same limits, until `drain` says so.
pub async fn serve_routes(port: Port, routes: Routes, drain: watch::Receiver<bool>) {
    let gate = Gate::new(Callers::new(Defaults::Open, None), None, Clock::system());
    let watch = CallWatch::new(None, Arc::new(Failures::new(Clock::system())));
    serve_behind(Arc::new(gate), watch, port, routes, drain).await;
}

fn gate(auth: &Auth, callers: Callers) -> Arc<Gate> {
    Arc::new(Gate::new(callers, Some(Arc::clone(&auth.base.audit)), auth.base.clock.clone()))
}

fn watch(authorizer: &Authorizer) -> CallWatch {
    CallWatch::new(Some(authorizer.auth.base.metrics.calls.clone()), Arc::clone(&authorizer.failures))
}

async fn serve_behind(gate: Arc<Gate>, watch: CallWatch, port: Port, routes: Routes, drain: watch::Receiver<bool>) {
    let service = ContractLayer::new(gate, watch).layer(routes);
    if port.protocol == Protocol::Both {
        net::serve(port, GrpcWebLayer::new().layer(service), drain).await;
    } else {
        let service = service.map_request(|request: Request<Incoming>| request.map(Body::new));
        net::serve(port, service, drain).await;
    }
}

/// The RPCs of the contract and Check, as they are called without a port.
pub type Services = Contract<Routes>;

/// The RPCs of the contract, for whoever calls them in the same process. Streams go on until they are dropped.
pub fn services(authorizer: Authorizer, callers: Callers) -> Services {
    let (gate, watch) = (gate(&authorizer.auth, callers), watch(&authorizer));
    let mut routes = Routes::builder();
    add_contract(&mut routes, authorizer, watch::Sender::new(false).subscribe());
    ContractLayer::new(gate, watch).layer(routes.routes())
}

fn add_contract(routes: &mut RoutesBuilder, authorizer: Authorizer, drain: watch::Receiver<bool>) {
    let service = Service::new(Arc::clone(&authorizer.auth), drain.clone());
    let xds = Xds::new(&authorizer, Arc::clone(&service.streams), drain);
    let ext_authz = AuthorizationServer::new(ExtAuthz::new(authorizer)).accept_compressed(GZIP);
    routes
        .add_service(ext_authz.max_decoding_message_size(WITH_BODY))
        .add_service(ExtensionConfigDiscoveryServiceServer::new(xds.clone()).max_decoding_message_size(WITH_BODY))
        .add_service(AggregatedDiscoveryServiceServer::new(xds).max_decoding_message_size(WITH_BODY))
        .add_service(BySize::new(|max| {
            AuthServiceServer::new(service.clone()).max_decoding_message_size(max).accept_compressed(GZIP)
        }))
        .add_service(BySize::new(|max| {
            UserServiceServer::new(service.clone()).max_decoding_message_size(max).accept_compressed(GZIP)
        }));
}

fn routes(authorizer: Authorizer, health: Health, drain: &watch::Receiver<bool>) -> Result<Routes, Error> {
    let health = tonic_health::server::HealthService::from_health_reporter(health.0);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let drain = || drain.clone();
    let health = tonic_health::pb::health_server::HealthServer::new(health).max_decoding_message_size(SMALL);
    let v1 = reflection().build_v1().map_err(Error::internal)?.max_decoding_message_size(SMALL);
    let v1alpha = reflection().build_v1alpha().map_err(Error::internal)?.max_decoding_message_size(SMALL);
    let mut routes = Routes::builder();
    add_contract(&mut routes, authorizer, drain());
    routes
        .add_service(UntilDrain::new(health, drain()))
        .add_service(UntilDrain::new(v1, drain()))
        .add_service(UntilDrain::new(v1alpha, drain()));
    Ok(routes.routes())
}
