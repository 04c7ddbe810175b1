//! A connection of its own that hears the notification of each revocation. One may be missed: the log is what counts.

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    error::{out_of_time, unreachable},
    pool::Store,
    retirement::Generation,
};
use crate::error::Error;

/// The channel of the notification that follows a commit. Its payload is the replica that committed, so that this one need not
/// wake itself, or empty if no replica did. A lost notification costs time, never correctness.
pub(super) const CHANNEL: &str = "countersign_revocations";

impl Store {
    /// A connection that hears the notification of each revocation.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn listen(&self) -> Result<Listener, Error> {
        let connect = async {
            self.settle().await;
            let generation = self.health.begin();
            // A pool of its own, because a listener keeps its connection.
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.hosts.current()?.clone());
            let mut listener = PgListener::connect_with(&pool).await.map_err(unreachable)?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await.map_err(unreachable)?;
            Ok(Listener { listener, generation })
        };
        let connected = timeout(self.deadline, connect).await.map_err(out_of_time);
        connected.and_then(|connected| connected).inspect_err(|_| self.health.doubt())
    }
}

/// hears the notification of each revocation.
#[derive(Debug)]
pub struct Listener {
    listener: PgListener,
    generation: Generation,
}

impl Listener {
    /// Waits for the next notification that is not of the replica `own`.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`] when the connection was lost or retired; notifications may have been missed.
    pub async fn recv(&mut self, own: Uuid) -> Result<(), Error> {
        loop {
            let heard = tokio::select! {
                biased;
                () = self.generation.retired() => None,
                heard = self.listener.try_recv() => heard.map_err(unreachable)?,
            };
            let heard = heard.ok_or_else(|| Error::DatabaseUnavailable("listener lost".into()))?;
            if heard.payload().parse() != Ok(own) {
                return Ok(());
            }
        }
    }
}
