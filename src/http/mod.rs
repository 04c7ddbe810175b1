//! The HTTP side: the only code that knows axum. Public keys and discovery for verifiers, probes for orchestrators, forward auth
//! for proxies, and sessions of browsers.

mod browser;
mod discovery;
mod forward_auth;
mod html;
mod jwks;
mod metrics;
mod named;
mod probes;
mod readiness;
mod ready_check;
mod refusal;
mod status;

use axum::Router;
use tokio::{sync::watch, task::JoinSet};

pub use self::{readiness::Readiness, ready_check::check_ready};
use crate::{
    domain::policy::{AuthzPolicy, ForwardAuth},
    net::{self, Port},
};

/// The ports of HTTP.
#[derive(Debug)]
pub struct HttpPorts {
    /// The port of verifiers, orchestrators and browsers.
    pub main: Port,
    /// A port of forward auth alone, which is not on the other one then.
    pub forward_auth: Option<Port>,
    /// A port of metrics alone, which are not on the other one then.
    pub metrics: Option<Port>,
    /// True if the main port, or that of metrics where there is one, has the status page.
    pub status_page: bool,
}

impl From<Port> for HttpPorts {
    fn from(main: Port) -> Self {
        Self { main, forward_auth: None, metrics: None, status_page: false }
    }
}

/// Serves on the ports until `drain` says so, and then until the calls under way are done.
pub async fn serve(ports: HttpPorts, policy: &AuthzPolicy, readiness: Readiness, drain: watch::Receiver<bool>) {
    let asked = match policy.forward_auth {
        ForwardAuth::Off => Router::new(),
        _ => forward_auth::routes(),
    };
    let mut main = Router::new().merge(discovery::routes()).merge(probes::routes()).merge(browser::routes(policy));
    let mut serving = JoinSet::new();
    let (mut status, mut sampling) = (Router::new(), JoinSet::new());
    if ports.status_page {
        status = status::routes();
        sampling.spawn(status::sample(readiness.clone()));
    }
    for (port, routes) in [(ports.forward_auth, asked), (ports.metrics, metrics::routes().merge(status))] {
        match port {
            Some(port) => drop(serving.spawn(net::serve(port, routes.with_state(readiness.clone()), drain.clone()))),
            None => main = main.merge(routes),
        }
    }
    net::serve(ports.main, main.fallback(discovery::by_issuer).with_state(readiness), drain).await;
    while serving.join_next().await.is_some() {}
}
