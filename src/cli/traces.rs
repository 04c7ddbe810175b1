//! Traces of a server, from before it serves until after it has served.

use crate::{
    domain::trace::TracePolicy,
    error::Error,
    server::Server,
    trace::{self, Traces},
};

/// The traces of a server, if anybody wants them.
pub(super) struct ServerTraces(Option<Traces>);

impl ServerTraces {
    /// Starts them, for a server that does not serve yet.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for certificates that cannot be read.
    pub(super) fn start(policy: Option<TracePolicy>, server: &Server) -> Result<Self, Error> {
        let replica = server.auth().base.log.replica().to_string();
        policy.map(|policy| trace::start(policy, &replica)).transpose().map(Self)
    }

    /// Does what a server does, and sends the last spans.
    pub(super) async fn beside<T>(self, serving: impl Future<Output = T>) -> T {
        let served = serving.await;
        if let Self(Some(traces)) = self {
            traces.finish().await;
        }
        served
    }
}
