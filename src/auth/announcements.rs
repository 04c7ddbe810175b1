//! The hints that follow commits of the revocation log: one NOTIFY at a time, for all that has been committed since the last one.
//! On a connection of their own, because whoever has committed has to answer, and the next ones to commit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Mutex;

use crate::store::{Lane, Store, revocations};

/// Commits that have not been announced yet.
#[derive(Debug, Default)]
pub struct Announcements {
    /// Somebody is about to announce all that is committed by now.
    due: AtomicBool,
    lane: Mutex<Lane>,
}

impl Announcements {
    /// Wakes the followers of all replicas, soon. One that fails costs them time: they hear with the next heartbeat.
    pub(super) fn announce(self: &Arc<Self>, store: &Store) {
        if self.due.swap(true, Ordering::SeqCst) {
            return;
        }
        let (announcements, store) = (Arc::clone(self), store.clone());
        tokio::spawn(async move {
            let mut lane = announcements.lane.lock().await;
            // Before it is sent: what is committed from now on needs another one.
            announcements.due.store(false, Ordering::SeqCst);
            if let Ok(conn) = store.enter(&mut lane).await {
                drop(revocations::notify(conn).await);
            }
        });
    }
}
