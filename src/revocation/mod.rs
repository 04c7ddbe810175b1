//! The revocations that this replica knows, and their freshness. The follower is the only writer of freshness; `auth`
//! adds what it has just revoked itself.
//!
//! Architecture invariant: reading never waits for the database (promise P3). Freshness is published only after the rows have
//! been applied (V1).

pub mod announcements;
pub mod batch;
pub mod changes;
pub mod confirm;
pub mod feed;
pub mod follower;
mod full_load;
mod heartbeat;
pub mod log;
mod notifications;
pub mod protocol;
mod reports;
mod restore;
mod waits;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign_token::{
    clock::{BootInstant, Clock, Moment},
    moment::unix,
    state::RevocationState,
};
use tokio::{sync::watch, task::yield_now};

use crate::domain::{
    revocation::{LogEntry, Position},
    session::Session,
};
use feed::{Feed, News};

/// The database's clock has not been heard of yet: then nothing is fresh either.
const NO_DISTANCE: u64 = 0;

/// The revocations that this replica knows.
#[derive(Debug)]
pub struct Revocations {
    state: Arc<RevocationState>,
    feed: Mutex<Feed>,
    /// Held by the watcher that takes a snapshot.
    snapshots: tokio::sync::Mutex<()>,
    /// Distance of the wall clock from the database's, in milliseconds.
    clock_distance: AtomicU64,
    /// The log that is followed may lack what was committed.
    distrusted: AtomicBool,
    published: watch::Sender<Option<BootInstant>>,
    clock: Clock,
}

impl Revocations {
    /// Revocations of which none is known yet; what is older than `max_staleness` is refused.
    pub fn new(max_staleness: Duration, clock: Clock) -> Self {
        Self {
            state: Arc::new(RevocationState::new(max_staleness, clock.clone())),
            feed: Mutex::default(),
            snapshots: tokio::sync::Mutex::default(),
            clock_distance: AtomicU64::new(NO_DISTANCE),
            distrusted: AtomicBool::new(false),
            published: watch::Sender::new(None),
            clock,
        }
    }

    /// The state by which tokens are verified.
    pub fn state(&self) -> &Arc<RevocationState> {
        &self.state
    }

    /// True if a session is known to have ended; fresh or not. The database may have lost that (REQUIREMENTS V4).
    pub fn has_ended(&self, session: &Session) -> bool {
        self.state.has_ended(session.id, session.user_id, session.epoch, unix(session.created_at))
    }

    /// The news for a watcher that knows everything up to `known`.
    pub async fn changes_since(&self, known: Option<Position>) -> News {
        if let Some(news) = self.feed().after(known, self.clock.boot()) {
            return news;
        }
        // By one for all, and in small pieces: the follower and look-ups go on.
        let _turn = self.snapshots.lock().await;
        if let Some(news) = self.feed().after(known, self.clock.boot()) {
            return news;
        }
        // Read before the index, in which the rows up to here are by now.
        let (position, taken_at) = (self.feed().end(), self.clock.boot());
        let mut all = Vec::new();
        for part in self.state.snapshot() {
            all.extend(part);
            yield_now().await;
        }
        let all = Arc::new(all);
        self.feed().keep(Arc::clone(&all), position, taken_at);
        News::Everything(all, position)
    }

    /// Each time there is something new, or the state has become fresher.
    pub fn freshness_changes(&self) -> watch::Receiver<Option<BootInstant>> {
        self.published.subscribe()
    }

    /// True while somebody waits for what the follower reads.
    fn is_watched(&self) -> bool {
        self.published.receiver_count() > 0
    }

    /// Tells the watchers what the follower has read.
    fn extend_feed(&self, rows: impl IntoIterator<Item = LogEntry>, end: Position) {
        if self.feed().extend(rows, end) {
            self.published.send_modify(|_| {});
        }
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares the index complete as of `as_of`, which was read before the statement was sent.
    fn publish(&self, as_of: Moment) {
        self.state.publish(as_of);
        self.published.send_replace(Some(as_of.boot()));
    }

    /// The distance of this machine's wall clock from the database's, as it was seen last.
    pub fn clock_distance(&self) -> Duration {
        Duration::from_millis(self.clock_distance.load(Ordering::Relaxed))
    }

    fn note_clock(&self, distance: Duration) {
        self.clock_distance.store(u64::try_from(distance.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Has the whole log loaded before anything counts as fresh again: something was committed that it may not hold.
    pub fn distrust(&self) {
        self.distrusted.store(true, Ordering::SeqCst);
    }

    fn take_distrust(&self) -> bool {
        self.distrusted.swap(false, Ordering::SeqCst)
    }

    /// Refuses every look-up from now on: the others wait for this replica no more.
    fn withdraw(&self) {
        self.state.withdraw();
    }

    /// Waits until the state is complete as of `moment`.
    pub async fn caught_up(&self, moment: BootInstant) {
        let mut published = self.published.subscribe();
        let reached = |as_of: &Option<BootInstant>| as_of.is_some_and(|as_of| as_of >= moment);
        // The sender lives in self, so the channel cannot close.
        drop(published.wait_for(reached).await);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use tokio::task::JoinSet;

    use super::*;

    fn revocations() -> Arc<Revocations> {
        Arc::new(Revocations::new(Duration::from_secs(30), Clock::manual()))
    }

    #[tokio::test]
    async fn others_have_their_turn_while_a_snapshot_is_taken() {
        let revocations = revocations();
        let mut taken = Box::pin(revocations.changes_since(None));
        for _ in 0..2 {
            let polled = taken.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "it is taken in pieces");
        }
        assert!(matches!(taken.await, News::Everything(..)));
    }

    #[tokio::test]
    async fn watchers_that_begin_at_once_take_one_snapshot() {
        let revocations = revocations();
        let mut watchers = JoinSet::new();
        for _ in 0..10 {
            let revocations = Arc::clone(&revocations);
            watchers.spawn(async move { revocations.changes_since(None).await });
        }
        let snapshots: Vec<_> = watchers
            .join_all()
            .await
            .into_iter()
            .map(|news| match news {
                News::Everything(all, _) => all,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(snapshots.iter().all(|one| Arc::ptr_eq(one, &snapshots[0])));
    }
}
