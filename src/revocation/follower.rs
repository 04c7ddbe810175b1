//! The follower: the task that keeps this replica's revocations fresh. With each beat, one statement reports how far the
//! replica has read and reads what is new. Woken by a hint, and at least once a second.
//!
//! When the log says that the keys have changed they are read again, before the new state counts as known.
//!
//! Any gap (a new connection, numbers that do not follow on) means a full load; what is known is united with what is
//! loaded, never dropped because the database lacks it (REQUIREMENTS V4).

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use super::Revocations;
use crate::{
    clock::Clock,
    domain::{
        ids::new_v7,
        revocation::{LogEntry, Subject},
    },
    error::Error,
    store::{
        Conn, Store,
        keys::{self, StoredKey},
        replicas::{self, Beat},
        revocations,
    },
};

/// The longest pause between two beats.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after a failure, so that a database that comes back is noticed soon and not flooded.
const BACK_OFF: Duration = Duration::from_millis(200);
/// How long the hints' connection may be silent before it is made anew.
const SILENCE: Duration = Duration::from_secs(60);
/// Beats between two collections of the index.
const COLLECT_EVERY: u32 = 60;

/// Takes over the keys as they are stored now. Opening them is not the business of this module.
pub type InstallKeys = Box<dyn Fn(Vec<StoredKey>) + Send + Sync>;

/// Keeps [`Revocations`] fresh.
pub struct Follower {
    store: Store,
    revocations: Arc<Revocations>,
    clock: Clock,
    replica: Uuid,
    /// Wakes it before its pause is over.
    wake: Arc<Notify>,
    install_keys: InstallKeys,
}

impl Follower {
    /// A follower that has not started yet.
    pub fn new(
        store: Store,
        revocations: Arc<Revocations>,
        clock: Clock,
        wake: Arc<Notify>,
        install_keys: InstallKeys,
    ) -> Self {
        let replica = new_v7(clock.now());
        Self { store, revocations, clock, replica, wake, install_keys }
    }

    /// Follows until `stop` resolves, and then takes the replica off the list. An outage is logged once when it begins
    /// and once when it ends.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut healthy = true;
        loop {
            let Err(error) = self.follow(stop.as_mut(), &mut healthy).await else {
                return;
            };
            if healthy {
                tracing::error!(%error, "the revocation log cannot be followed; verifying goes on until the bound");
                healthy = false;
            }
            tokio::select! {
                () = stop.as_mut() => return,
                _ = timeout(BACK_OFF, self.wake.notified()) => {}
            }
        }
    }

    /// Turns hints into wake-ups until it is dropped. Without hints the follower polls.
    pub async fn listen(&self) {
        loop {
            if let Ok(mut listener) = self.store.listen().await {
                self.wake.notify_one();
                // A connection that has been silent for long may be dead without knowing it.
                while let Ok(Ok(())) = timeout(SILENCE, listener.hint()).await {
                    self.wake.notify_one();
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends without an error when `stop` has resolved.
    async fn follow(&self, mut stop: Pin<&mut impl Future<Output = ()>>, healthy: &mut bool) -> Result<(), Error> {
        let mut conn = self.store.connect().await?;
        // On the list before the first beat is sent, so that a Revoke either counts this replica's bound or is read by
        // that beat.
        replicas::register(&mut conn, self.report(0)).await?;
        let mut applied = self.load(&mut conn).await?;
        for beats in 1_u32.. {
            let sent_at = self.clock.boot();
            applied = self.beat(&mut conn, applied).await?;
            if !std::mem::replace(healthy, true) {
                tracing::info!("the revocation log is followed again");
            }
            if beats.is_multiple_of(COLLECT_EVERY) {
                self.revocations.collect();
            }
            // After a slow answer at once, because what it said is old already.
            let pause = PAUSE.saturating_sub(self.clock.boot().since(sent_at));
            tokio::select! {
                () = stop.as_mut() => return replicas::leave(&mut conn, self.replica).await,
                _ = timeout(pause, self.wake.notified()) => {}
            }
        }
        Ok(())
    }

    /// Only a beat makes the state fresh, because only a beat commits a write: a database that accepts none is not the
    /// one that revocations are written to (REQUIREMENTS V9).
    async fn beat(&self, conn: &mut Conn, applied: i64) -> Result<i64, Error> {
        let sent_at = self.clock.boot();
        let heard = replicas::beat(conn, self.report(applied)).await?;
        if !follows_on(applied, heard.head, &heard.entries) {
            tracing::warn!(applied, head = heard.head, "gap in the revocation log: loading it in full");
            self.wake.notify_one();
            return self.load(conn).await;
        }
        if heard.entries.iter().any(|entry| entry.revocation.subject == Subject::Keys) {
            (self.install_keys)(keys::all(conn).await?.keys);
        }
        self.revocations.apply(heard.entries.iter().map(|entry| &entry.revocation));
        self.revocations.publish(sent_at);
        Ok(heard.head)
    }

    async fn load(&self, conn: &mut Conn) -> Result<i64, Error> {
        let (head, entries) = revocations::load(conn, self.clock.now()).await?;
        // After the head was read, so that what changes from now on is heard of.
        (self.install_keys)(keys::all(conn).await?.keys);
        self.revocations.apply(entries.iter().map(|entry| &entry.revocation));
        Ok(head)
    }

    fn report(&self, applied_seq: i64) -> Beat {
        Beat { replica: self.replica, applied_seq, max_staleness: self.revocations.max_staleness }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// Whether `entries` are exactly the rows after `applied` up to `head`.
fn follows_on(applied: i64, head: i64, entries: &[LogEntry]) -> bool {
    let expected = applied + 1..=head;
    entries.iter().map(|entry| entry.seq).eq(expected) && applied <= head
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::domain::{
        ids::SessionId,
        revocation::{Revocation, Subject},
    };

    fn entries(seqs: &[i64]) -> Vec<LogEntry> {
        let now = OffsetDateTime::UNIX_EPOCH;
        let entry = |seq: &i64| LogEntry {
            seq: *seq,
            id: new_v7(now),
            revocation: Revocation { subject: Subject::Session(SessionId::new(now)), expires_at: now },
        };
        seqs.iter().map(entry).collect()
    }

    #[test]
    fn v4_a_gap_of_any_kind_is_noticed() {
        for (applied, head, seqs, expected) in [
            (0, 0, &[][..], true),
            (4, 4, &[], true),
            (4, 6, &[5, 6], true),
            (4, 6, &[6], false),
            (4, 6, &[5], false),
            (4, 6, &[], false),
            (4, 7, &[5, 7], false),
            (4, 3, &[], false),
        ] {
            assert_eq!(follows_on(applied, head, &entries(seqs)), expected, "{applied} {head} {seqs:?}");
        }
    }
}
