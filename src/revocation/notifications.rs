//! Notifications (NOTIFY) that a revocation was committed: a connection listens for them and wakes the follower. One that is
//! lost costs time, never correctness.

use std::{future::pending, time::Duration};

use tokio::time::{sleep, timeout};

use super::follower::{Follower, PAUSE};

/// Longest silence of the connection that listens before it is made anew.
const SILENCE: Duration = Duration::from_secs(60);

impl Follower {
    /// Turns notifications into wake-ups until it is dropped. Without them the follower polls.
    pub(super) async fn listen(&self) {
        if !self.policy.notifications.are_on() {
            return pending().await;
        }
        loop {
            if let Ok(mut listener) = self.store.listen().await {
                self.announcements.heard();
                // A connection that has been silent for long may be dead without knowing it: the next one at once.
                while let Ok(heard) = timeout(SILENCE, listener.recv(self.replica)).await {
                    self.confirmations.heard_of_others();
                    self.announcements.heard();
                    if heard.is_err() {
                        sleep(self.jittered(PAUSE)).await;
                        break;
                    }
                }
            } else {
                sleep(self.jittered(PAUSE)).await;
            }
        }
    }
}
