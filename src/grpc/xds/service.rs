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
    stream::{self, Pushes, Teller},
};
use crate::{authz::Authorizer, edge::Caller, error::Error, grpc::service::respond, net::Places, xds::Catalogue};

/// Serves proxies that are told of revocations.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Xds {
    teller: Teller,
    following: Arc<Following>,
    streams: Arc<Places<String>>,
    drain: watch::Receiver<bool>,
}

/// The task that follows the feed and reports the proxies, once there was one.
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
        let auth = Arc::clone(&authorizer.auth);
        let lists = policy.proxy_lists;
        let catalogue = Arc::new(Catalogue::new(Arc::clone(&auth), policy.access_cookie.clone(), lists));
        let teller = Teller { auth, catalogue, proxies: Arc::default(), ttl: policy.proxy_ttl };
        Self { teller, following: Arc::default(), streams, drain }
    }

    async fn open(&self, request: Request<Streaming<DeltaDiscoveryRequest>>) -> Result<Response<Pushes>, Status> {
        respond(async {
            let caller = Caller::of(request.extensions())?;
            let place = self.streams.take(caller.holder());
            let place = place.map_err(|_| Error::Overloaded { retry_after: self.teller.ttl })?;
            self.following.0.get_or_init(|| {
                let Teller { auth, catalogue, proxies, ttl } = self.teller.clone();
                let following = async move {
                    tokio::join!(catalogue.follow(), proxies.report(&auth, &catalogue, ttl));
                };
                tokio::spawn(following).abort_handle()
            });
            let (teller, drain) = (self.teller.clone(), self.drain.clone());
            Ok(stream::open(teller, caller.client_id(), request.into_inner(), drain, place))
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
