//! The services: one handler for both, because both are the same protocol.

use std::sync::{Arc, OnceLock};

use tokio::{sync::watch, task::AbortHandle};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    messages::DeltaDiscoveryRequest,
    services::{
        aggregated_discovery_service_server::AggregatedDiscoveryService,
        extension_config_discovery_service_server::ExtensionConfigDiscoveryService,
    },
    stream::{self, Proxies, Pushes},
};
use crate::{authz::Authorizer, edge::Caller, error::Error, grpc::service::respond, net::Places, xds::Catalogue};

/// Serves proxies that are told of revocations.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Xds {
    catalogue: Arc<Catalogue>,
    following: Arc<Following>,
    proxies: Proxies,
    streams: Arc<Places<String>>,
    drain: watch::Receiver<bool>,
}

/// The task that follows the feed, once there was a proxy.
#[derive(Debug, Default)]
struct Following(OnceLock<AbortHandle>);

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(task) = self.0.get() {
            task.abort();
        }
    }
}

impl Xds {
    /// The services of these operations, whose streams take places and end when `drain` says so.
    pub(in crate::grpc) fn new(
        authorizer: &Authorizer,
        streams: Arc<Places<String>>,
        drain: watch::Receiver<bool>,
    ) -> Self {
        let policy = &authorizer.policy;
        let catalogue = Arc::new(Catalogue::new(Arc::clone(&authorizer.auth), policy.access_cookie.clone()));
        let proxies = Proxies { auth: Arc::clone(&authorizer.auth), ttl: policy.proxy_ttl };
        Self { catalogue, following: Arc::default(), proxies, streams, drain }
    }

    async fn open(&self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Result<Response<Pushes>, Status> {
        respond("xds", async {
            let holder = Caller::of(request.extensions())?.holder();
            let place = self.streams.take(holder).map_err(|_| Error::Overloaded { retry_after: self.proxies.ttl })?;
            self.following.0.get_or_init(|| {
                let catalogue = Arc::clone(&self.catalogue);
                tokio::spawn(async move { catalogue.follow().await }).abort_handle()
            });
            let catalogue = Arc::clone(&self.catalogue);
            Ok(stream::open(self.proxies.clone(), catalogue, request.into_inner(), self.drain.clone(), place))
        })
        .await
    }
}

#[async_trait]
impl ExtensionConfigDiscoveryService for Xds {
    type DeltaExtensionConfigsStream = Pushes;

    async fn delta_extension_configs(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Pushes>, Status> {
        self.open(request).await
    }
}

#[async_trait]
impl AggregatedDiscoveryService for Xds {
    type DeltaAggregatedResourcesStream = Pushes;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Pushes>, Status> {
        self.open(request).await
    }
}
