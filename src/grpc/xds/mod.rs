//! xDS: Envoy is told of revocations and keys as extensions of its own, and verifies tokens by itself.

mod messages;
mod service;
mod services;
mod stream;

pub(super) use self::{
    service::Xds,
    services::{
        aggregated_discovery_service_server::AggregatedDiscoveryServiceServer,
        extension_config_discovery_service_server::ExtensionConfigDiscoveryServiceServer,
    },
};
