//! The ports of a server: that of HTTP is open before the service is built, for probes; that of gRPC once it can answer.

use std::sync::{Arc, OnceLock};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    authz::Authorizer,
    domain::policy::AuthzPolicy,
    edge::Callers,
    error::Error,
    grpc::{self, GrpcPorts, Health},
    http::{self, HttpPorts, Readiness},
};

/// The open ports of a server. They close when this is dropped.
#[derive(Debug)]
pub struct Ports {
    serving: JoinSet<Result<(), Error>>,
    built: Arc<OnceLock<Authorizer>>,
    stopping: watch::Sender<bool>,
    drain: watch::Sender<bool>,
}

impl Ports {
    /// Opens the ports of HTTP: `/livez` is 200, everything else 503 until the service is built.
    pub fn open(http: impl Into<HttpPorts>, policy: AuthzPolicy) -> Self {
        let (built, stopping, drain) = (Arc::default(), watch::Sender::new(false), watch::Sender::new(false));
        let http = http.into();
        let speaks_tls = http.main.tls.is_some();
        let readiness = Readiness { built: Arc::clone(&built), stopping: stopping.subscribe(), speaks_tls };
        let mut serving = JoinSet::new();
        let draining = drain.subscribe();
        serving.spawn(async move {
            http::serve(http, &policy, readiness, draining).await;
            Ok(())
        });
        Self { serving, built, stopping, drain }
    }

    /// Answers HTTP by these operations from now on: `/readyz` can be 200.
    pub fn answer_by(&self, authorizer: Authorizer) {
        self.built.get_or_init(|| authorizer);
    }

    /// Opens the ports of gRPC, and answers HTTP by these operations.
    pub(super) fn open_grpc(&mut self, ports: GrpcPorts, authorizer: Authorizer, callers: Callers, health: Health) {
        let built = self.built.get_or_init(|| authorizer);
        self.serving.spawn(grpc::serve(ports, built.clone(), callers, health, self.drain.subscribe()));
    }

    /// Says at `/readyz` that requests are better sent elsewhere.
    pub(super) fn say_stopping(&self) {
        self.stopping.send_replace(true);
    }

    /// Takes no more connections and requests.
    pub(super) fn drain(&self) {
        self.drain.send_replace(true);
    }

    /// Waits until a port ends, which it does by itself only if it fails; None if none is left.
    pub(super) async fn ended(&mut self) -> Option<Error> {
        match self.serving.join_next().await? {
            Ok(Err(error)) => Some(error),
            Err(error) => Some(Error::internal(error)),
            Ok(Ok(())) => Some(Error::internal("a port closed by itself")),
        }
    }

    /// Waits until all ports have ended.
    pub(super) async fn all_ended(&mut self) {
        while self.serving.join_next().await.is_some() {}
    }
}
