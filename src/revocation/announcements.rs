//! Announcements: they say that the log has grown, to the followers that are to read it before their next heartbeat. Other
//! replicas hear by NOTIFY, one at a time, for all that has been committed since the last one. It goes by a connection of its
//! own, because whoever has committed has to answer, and the next ones to commit.
//!
//! This replica has applied what it committed. Its own follower reads it at once only where somebody waits for what is read.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use countersign_token::revocation::{Revocation, Subject};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

use super::{Revocations, confirm::Confirmations};
use crate::store::{PreparedConn, Store, revocations};

/// Wakes followers: this replica's, and those of the others.
#[derive(Debug)]
pub struct Announcements {
    own: Uuid,
    store: Store,
    revocations: Arc<Revocations>,
    confirmations: Arc<Confirmations>,
    /// Somebody is about to send a NOTIFY for all that is committed by now.
    due: AtomicBool,
    lane: Mutex<PreparedConn>,
    /// There may be something new for this replica's follower.
    heard: Notify,
}

impl Announcements {
    /// Announcements of the replica `own`.
    pub fn new(own: Uuid, store: Store, revocations: Arc<Revocations>, confirmations: Arc<Confirmations>) -> Self {
        let (due, lane, heard) = (AtomicBool::new(false), Mutex::default(), Notify::new());
        Self { own, store, revocations, confirmations, due, lane, heard }
    }

    /// Wakes this replica's follower, if somebody waits for what it reads: subscribers of WatchRevocations for all of it, and
    /// whoever signs for the keys.
    pub fn wake_own(&self, committed: &[Revocation]) {
        if self.revocations.is_watched() || committed.iter().any(|revocation| revocation.subject == Subject::Keys) {
            self.heard();
        }
    }

    /// Wakes the followers of the other replicas, if there are any, soon. One that fails costs them time: they hear with their
    /// next heartbeat. Says whether there are others, as far as this replica has read.
    pub fn wake_others(self: &Arc<Self>) -> bool {
        let others = self.confirmations.has_others();
        if others && !self.due.swap(true, Ordering::SeqCst) {
            let announcements = Arc::clone(self);
            tokio::spawn(async move { announcements.send().await });
        }
        others
    }

    async fn send(&self) {
        let mut lane = self.lane.lock().await;
        // Before it is sent: what is committed from now on needs another one.
        self.due.store(false, Ordering::SeqCst);
        if let Ok(conn) = self.store.prepared(&mut lane).await {
            drop(revocations::notify(conn, Some(self.own)).await);
        }
    }

    /// Wakes this replica's follower.
    pub(super) fn heard(&self) {
        self.heard.notify_one();
    }

    /// Waits until there may be something new for this replica's follower.
    pub(super) async fn something_new(&self) {
        self.heard.notified().await;
    }
}
