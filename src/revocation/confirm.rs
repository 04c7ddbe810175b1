//! Confirmation: from when on may it be said that no replica accepts what was revoked? When each has applied the log that
//! far, or has been silent for so long that it refuses by itself.
//!
//! Silence is measured by the observer's own clock: a counter in the replica's row did not move between two readings. The
//! follower keeps its half of the bargain: a beat that comes after more than the bound breaks the silence, and makes
//! nothing fresh (`follower.rs`). No wall clock is compared, and a stepped one confirms nothing.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::{
    clock::{Boot, Clock},
    error::Error,
    store::{
        Conn, Store,
        replicas::{self, Listing, Replica},
    },
};

/// How often the list is read when nobody waits, so that silence is known when somebody does.
const IDLE: Duration = Duration::from_secs(1);
/// While somebody waits: so many readings without a pause since the last one came, because if all is well the others
/// answer within a millisecond; then as many with short pauses, and then with longer ones.
const QUICK_LOOKS: u32 = 6;
const SHORT_PAUSE: Duration = Duration::from_millis(1);
const LONG_PAUSE: Duration = Duration::from_millis(5);
/// The pause after a reading that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// How many of its bounds a replica may be silent before it is taken off the list.
const DEAD_AFTER: u32 = 10;

/// What is known of the other replicas.
#[derive(Debug)]
pub struct Confirmations {
    /// This replica applies what it revokes before it says so, and needs no confirmation.
    own: Uuid,
    clock: Clock,
    observer: Mutex<Observer>,
    /// How many readings have begun.
    begun: AtomicU64,
    /// How many connections the readings have had. Numbers of the log mean the same for as long as one lives: another may
    /// be to a database that has lost commits.
    connections: AtomicU64,
    observed: watch::Sender<Observed>,
    waiting: AtomicUsize,
    asked: Notify,
}

/// The outcome of a reading.
#[derive(Clone, Copy, Debug, Default)]
struct Observed {
    /// Which reading it was, from 1.
    reading: u64,
    /// Of which connection, from 1.
    connection: u64,
    /// Every replica that may accept tokens has applied the log up to here.
    applied_by_all: i64,
}

/// Something that was committed, and from when on its confirmation counts.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// Its place in the log.
    seq: i64,
    /// Readings up to this one began before it was committed.
    reading: u64,
    /// A later connection may read another log.
    connection: u64,
    /// Nobody is to be waited for.
    confirmed: bool,
}

impl Mark {
    fn is_reached(self, observed: &Observed) -> bool {
        observed.connection == self.connection && observed.reading > self.reading && observed.applied_by_all >= self.seq
    }
}

impl Confirmations {
    /// Of the replica `own`. Nothing is known yet.
    pub fn new(own: Uuid, clock: Clock) -> Self {
        Self {
            own,
            clock,
            observer: Mutex::default(),
            begun: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            observed: watch::Sender::default(),
            waiting: AtomicUsize::new(0),
            asked: Notify::new(),
        }
    }

    /// Reads the list after a commit on the same connection. Gives the largest bound of any replica, and what to wait for.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn after_commit(&self, conn: &mut Conn) -> Result<(Duration, Mark), Error> {
        let reading = self.begun.load(Ordering::SeqCst);
        let connection = self.connections.load(Ordering::SeqCst);
        let asked_at = self.clock.boot();
        let Listing { head: seq, replicas } = replicas::list(conn).await?;
        let applied_by_all = self.observer().applied_by_all(self.others(&replicas), asked_at);
        let largest = replicas.iter().map(|replica| replica.max_staleness).max();
        let confirmed = applied_by_all >= seq;
        Ok((largest.unwrap_or_default(), Mark { seq, reading, connection, confirmed }))
    }

    /// Whether every replica is known to have applied what was marked, within `wait` at the latest.
    pub async fn confirm(&self, mark: Mark, wait: Duration) -> bool {
        if mark.confirmed {
            return true;
        }
        let mut observed = self.observed.subscribe();
        let _waiting = Waiting::begin(self);
        let reached = observed.wait_for(|observed| mark.is_reached(observed));
        timeout(wait, reached).await.is_ok_and(|reached| reached.is_ok())
    }

    /// Reads the list again and again until it is dropped: often while somebody waits.
    pub async fn run(&self, store: &Store) {
        loop {
            drop(self.read(store).await);
            sleep(PAUSE_AFTER_FAILURE).await;
        }
    }

    /// On one connection, of its own: requests that wait for confirmation must not keep others from theirs.
    async fn read(&self, store: &Store) -> Result<(), Error> {
        let mut conn = store.connect().await?;
        let connection = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
        let mut looks = 0;
        loop {
            self.look(&mut conn, connection).await?;
            let pause = match looks / QUICK_LOOKS {
                _ if self.waiting.load(Ordering::SeqCst) == 0 => IDLE,
                // A timer would take a millisecond or two.
                0 => {
                    looks += 1;
                    continue;
                }
                1 => SHORT_PAUSE,
                _ => LONG_PAUSE,
            };
            looks = timeout(pause, self.asked.notified()).await.map_or(looks + 1, |()| 0);
        }
    }

    async fn look(&self, conn: &mut Conn, connection: u64) -> Result<(), Error> {
        let reading = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let asked_at = self.clock.boot();
        let listing = replicas::list(conn).await?;
        let answered_at = self.clock.boot();
        let mut observer = self.observer();
        observer.observe(self.others(&listing.replicas), answered_at);
        let applied_by_all = observer.applied_by_all(self.others(&listing.replicas), asked_at);
        drop(observer);
        self.observed.send_replace(Observed { reading, connection, applied_by_all });
        Ok(())
    }

    /// Takes replicas off the list that have been silent for much longer than their bounds: they were killed.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn forget_the_dead(&self, conn: &mut Conn) -> Result<(), Error> {
        let asked_at = self.clock.boot();
        let replicas = replicas::list(conn).await?.replicas;
        self.observer().observe(self.others(&replicas), self.clock.boot());
        for replica in replicas {
            if self.observer().silent_for(&replica, asked_at) > replica.max_staleness * DEAD_AFTER {
                replicas::forget(conn, &replica).await?;
                tracing::info!(replica = %replica.id, "a replica that has been silent for long was taken off the list");
            }
        }
        Ok(())
    }

    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others<'a>(&self, replicas: &'a [Replica]) -> impl Iterator<Item = &'a Replica> {
        let own = self.own;
        replicas.iter().filter(move |replica| replica.id != own)
    }
}

/// Somebody waits for as long as this lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(confirmations: &'a Confirmations) -> Self {
        confirmations.waiting.fetch_add(1, Ordering::SeqCst);
        confirmations.asked.notify_one();
        Self(&confirmations.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long each replica's counter has stood still. Pure.
#[derive(Debug, Default)]
struct Observer(HashMap<Uuid, Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    beats: i64,
    /// The counter had this value already.
    since: Boot,
}

impl Observer {
    /// How long the counter of `replica`, read by a statement that was sent at `asked_at`, is known to have stood still.
    fn silent_for(&self, replica: &Replica, asked_at: Boot) -> Duration {
        let seen = self.0.get(&replica.id).filter(|seen| seen.beats == replica.beats);
        seen.map_or(Duration::ZERO, |seen| asked_at.since(seen.since))
    }

    /// Takes over a reading.
    fn observe<'a>(&mut self, list: impl Iterator<Item = &'a Replica>, answered_at: Boot) {
        let before = std::mem::take(&mut self.0);
        for replica in list {
            let fresh = Seen { beats: replica.beats, since: answered_at };
            let seen = before.get(&replica.id).copied().filter(|seen| seen.beats == replica.beats).unwrap_or(fresh);
            self.0.insert(replica.id, seen);
        }
    }

    /// Up to where every replica has applied the log that may accept tokens, by a list that was asked for at `asked_at`.
    fn applied_by_all<'a>(&self, list: impl Iterator<Item = &'a Replica>, asked_at: Boot) -> i64 {
        // A little more than its bound: no two clocks run at quite the same rate.
        let is_silent = |replica: &Replica| {
            self.silent_for(replica, asked_at) > replica.max_staleness + replica.max_staleness / 100
        };
        list.filter(|replica| !is_silent(replica)).map(|replica| replica.applied_seq).min().unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Boot {
        Boot::from_nanos(seconds * SECOND)
    }

    fn replica(id: u128, beats: i64, applied_seq: i64) -> Replica {
        Replica { id: Uuid::from_u128(id), applied_seq, beats, max_staleness: Duration::from_secs(10) }
    }

    fn observe(observer: &mut Observer, list: &[Replica], seconds: u64) -> i64 {
        observer.observe(list.iter(), at(seconds));
        observer.applied_by_all(list.iter(), at(seconds))
    }

    #[test]
    fn everybody_counts_until_it_has_been_silent_for_its_bound() {
        let mut observer = Observer::default();
        assert_eq!(observe(&mut observer, &[], 0), i64::MAX, "nobody else is there");
        let list = [replica(1, 5, 7), replica(2, 5, 4)];
        assert_eq!(observe(&mut observer, &list, 0), 4);
        for (moved, seconds, expected) in [(6, 10, 4), (7, 11, 7), (8, 1000, 7)] {
            let list = [replica(1, moved, 7), replica(2, 5, 4)];
            assert_eq!(observe(&mut observer, &list, seconds), expected, "at {seconds}");
        }
        let back = [replica(1, 9, 7), replica(2, 6, 4)];
        assert_eq!(observe(&mut observer, &back, 1001), 4, "one that beats again counts again");
        assert_eq!(observe(&mut observer, &back[..1], 1002), 7, "one that has left does not");
    }

    #[test]
    fn silence_is_measured_from_the_answer_of_one_reading_to_the_question_of_another() {
        let list = [replica(1, 5, 4)];
        let mut observer = Observer::default();
        observer.observe(list.iter(), at(8));
        observer.observe(list.iter(), at(30));
        assert_eq!(observer.applied_by_all(list.iter(), at(11)), 4, "asked three seconds after the first answer");
        assert_eq!(observer.applied_by_all(list.iter(), at(31)), i64::MAX);
    }

    #[test]
    fn v4_what_another_connection_reads_confirms_nothing() {
        let mark = Mark { seq: 7, reading: 3, connection: 2, confirmed: false };
        for (reading, connection, applied_by_all, expected) in
            [(4, 2, 7, true), (3, 2, 7, false), (4, 3, 7, false), (4, 2, 6, false), (9, 2, i64::MAX, true)]
        {
            let observed = Observed { reading, connection, applied_by_all };
            assert_eq!(mark.is_reached(&observed), expected, "{observed:?}");
        }
    }
}
