//! Confirmation: the task that reads the list of replicas again and again, and those who wait for what it reads. Who may be
//! called done is decided by `protocol/observe.rs`.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign_token::clock::Clock;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use uuid::Uuid;

use super::{
    protocol::{CommitPosition, Observed, Observer, Question, Standing, everywhere_within},
    reports::ProxyReports,
    waits::Waits,
};
use crate::{
    domain::{
        policy::RevocationPolicy,
        proxy::ProxyGroup,
        replica::{Confirmation, Listed, Origin, Reading, SeenReplica},
        revocation::{LogIdentity, Position},
    },
    error::Error,
    store::{Conn, Store, replicas},
};

/// Time between two readings of the list when nobody waits, so that silence is known when somebody does.
const IDLE: Duration = Duration::from_secs(1);
/// Number of readings without a pause while somebody waits, since the last waiter came: if all is well the others
/// answer within a millisecond. Then as many follow with short pauses, and then others with longer ones.
const QUICK_LOOKS: u32 = 6;
const SHORT_PAUSE: Duration = Duration::from_millis(1);
const LONG_PAUSE: Duration = Duration::from_millis(5);
/// The pause after a reading that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);
/// A replica is taken off the list when it has been silent for so many of its bounds.
const DEAD_AFTER: u32 = 10;

/// The state of the other replicas, as this one knows it.
#[derive(Debug)]
pub struct Confirmations {
    /// The id of this replica, which applies what it revokes before it says so, and needs no confirmation.
    own: Uuid,
    clock: Clock,
    observer: Mutex<Observer>,
    reports: ProxyReports,
    /// The replicas as their list was read last.
    roster: Mutex<Vec<SeenReplica>>,
    /// True if proxies have to confirm too.
    proxies_count: bool,
    standing: Mutex<Standing>,
    /// The largest bound that any replica was seen to have, in milliseconds: the row of the one that has it may be lost.
    largest: AtomicU64,
    /// True if the list, as it was read last, had other replicas; true before it was read.
    others: AtomicBool,
    /// Number of readings that have begun.
    begun: AtomicU64,
    observed: watch::Sender<Seen>,
    waits: Waits,
}

/// The outcome of a reading: replicas, and the proxies of those that are not silent.
#[derive(Clone, Debug, Default)]
struct Seen {
    observed: Observed,
    proxies: Vec<ProxyGroup>,
}

/// Something that was committed: what to wait for, and how long at most.
#[derive(Clone, Debug)]
pub struct Pending {
    commit: CommitPosition,
    confirmation: Confirmation,
    /// True if the log that is followed was read after the commit, and holds what was committed.
    pub in_followed_log: bool,
    /// No replica accepts what was revoked when so much time has passed since.
    pub everywhere_within: Duration,
}

impl Confirmations {
    /// Confirmations for the replica `own`, which has these choices. Nothing is known yet.
    pub fn new(own: Uuid, policy: RevocationPolicy, clock: Clock) -> Self {
        Self {
            own,
            clock,
            observer: Mutex::default(),
            reports: ProxyReports::default(),
            roster: Mutex::default(),
            proxies_count: policy.proxies_confirm,
            standing: Mutex::default(),
            largest: AtomicU64::new(millis(policy.max_staleness)),
            others: AtomicBool::new(true),
            begun: AtomicU64::new(0),
            observed: watch::Sender::default(),
            waits: Waits::default(),
        }
    }

    /// Reads the list after a commit, which has written the log up to `row`.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn observe_commit(&self, conn: &mut Conn, row: Position) -> Result<Pending, Error> {
        let commit = CommitPosition { row, reading: self.begun.load(Ordering::SeqCst) };
        let asked_at = self.clock.boot();
        let reading = replicas::list(conn, &[row]).await?;
        self.note(&reading);
        let in_followed_log = self.standing().is_followed(reading.log) && reading.shown.contains(&row);
        let seen = self.conclude(Question { number: commit.reading + 1, asked_at }, reading);
        let confirmation = self.confirmation(commit, &seen);
        Ok(Pending {
            commit,
            confirmation,
            in_followed_log,
            everywhere_within: everywhere_within(self.largest_bound()),
        })
    }

    /// Waits until every replica is known to have applied what was committed, for `wait` at most; says if that is so.
    pub async fn confirm(&self, pending: &Pending, wait: Duration) -> Confirmation {
        if pending.confirmation.confirmed {
            return pending.confirmation;
        }
        let mut observed = self.observed.subscribe();
        let _wait = self.waits.begin(pending.commit.row);
        let reached = observed.wait_for(|seen| self.confirmation(pending.commit, seen).confirmed);
        // The sender lives as long as this.
        drop(timeout(wait, reached).await);
        self.confirmation(pending.commit, &observed.borrow())
    }

    fn confirmation(&self, commit: CommitPosition, seen: &Seen) -> Confirmation {
        let proxies = commit.count(&seen.observed, &seen.proxies);
        let confirmed = commit.is_reached(&seen.observed) && (!self.proxies_count || proxies.is_complete());
        Confirmation { confirmed, proxies }
    }

    /// Reads the list again and again until it is dropped: often while somebody waits.
    pub async fn run(&self, store: &Store) {
        loop {
            drop(self.read(store).await);
            sleep(PAUSE_AFTER_FAILURE).await;
        }
    }

    /// Reads on a connection of its own: requests that wait for confirmation must not keep others from theirs.
    async fn read(&self, store: &Store) -> Result<(), Error> {
        let mut conn = store.connect().await?;
        let mut looks = 0;
        while !conn.is_retired() {
            self.look(&mut conn).await?;
            let pause = match looks / QUICK_LOOKS {
                _ if self.waits.is_empty() => IDLE,
                // A timer would take a millisecond or two.
                0 => {
                    looks += 1;
                    continue;
                }
                1 => SHORT_PAUSE,
                _ => LONG_PAUSE,
            };
            looks = timeout(pause, self.waits.begun()).await.map_or(looks + 1, |()| 0);
        }
        Ok(())
    }

    async fn look(&self, conn: &mut Conn) -> Result<(), Error> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let rows = self.waits.rows();
        let asked_at = self.clock.boot();
        let reading = replicas::list(conn, &rows).await?;
        self.note(&reading);
        self.observer().observe(&reading.replicas, self.clock.boot());
        *self.lock_roster() = self.observer().seen(&reading.replicas, asked_at);
        self.reports.observe(&reading.proxies, self.clock.boot());
        self.observed.send_replace(self.conclude(Question { number, asked_at }, reading));
        Ok(())
    }

    fn conclude(&self, question: Question, reading: Reading) -> Seen {
        let standing = *self.standing();
        let proxies = self.reports.live(&reading.proxies, question.asked_at);
        Seen { observed: self.observer().conclude(self.own, question, reading, &standing), proxies }
    }

    /// The follower has an answer of this log, which says whether confirmations count on it already. Says whether it is another
    /// log than before.
    pub fn heard(&self, origin: Origin) -> bool {
        self.standing().heard(origin, self.clock.boot())
    }

    /// The log on which confirmations count from now on, if that is news.
    pub fn settle(&self) -> Option<LogIdentity> {
        let largest = self.largest_bound();
        self.standing().settle(largest, self.clock.boot())
    }

    /// True if confirmations count on this log.
    pub fn counts_on(&self, log: LogIdentity) -> bool {
        self.standing().confirms(Some(log))
    }

    /// The time after which no replica accepts what was revoked, when the list of replicas could not be read.
    pub fn everywhere_within(&self) -> Duration {
        everywhere_within(self.largest_bound())
    }

    /// Takes replicas off the list that have been silent for much longer than their bounds: they were killed.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn remove_silent_replicas(&self, conn: &mut Conn) -> Result<(), Error> {
        let asked_at = self.clock.boot();
        let Reading { replicas, proxies, .. } = replicas::list(conn, &[]).await?;
        self.observer().observe(&replicas, self.clock.boot());
        self.reports.observe(&proxies, self.clock.boot());
        self.reports.forget_silent(conn, &proxies, asked_at, DEAD_AFTER).await?;
        for replica in replicas.iter().filter(|replica| replica.id != self.own) {
            if self.observer().silent_for(replica, asked_at) > replica.max_staleness * DEAD_AFTER {
                replicas::forget(conn, replica).await?;
                tracing::info!(replica = %replica.id, "a replica that has been silent for long was taken off the list");
            }
        }
        Ok(())
    }

    /// True if there are other replicas, as far as is known.
    pub fn has_others(&self) -> bool {
        self.others.load(Ordering::SeqCst)
    }

    /// Somebody else has committed.
    pub(super) fn heard_of_others(&self) {
        self.others.store(true, Ordering::SeqCst);
    }

    fn note(&self, reading: &Reading) {
        self.others.store(reading.replicas.iter().any(|replica| replica.id != self.own), Ordering::SeqCst);
        let bounds = reading.replicas.iter().map(|Listed { max_staleness, .. }| millis(*max_staleness));
        self.largest.fetch_max(bounds.max().unwrap_or(0), Ordering::SeqCst);
    }

    fn largest_bound(&self) -> Duration {
        Duration::from_millis(self.largest.load(Ordering::SeqCst))
    }

    fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replicas, this one too, as their list was read last.
    pub fn seen(&self) -> Vec<SeenReplica> {
        self.lock_roster().clone()
    }

    fn lock_roster(&self) -> MutexGuard<'_, Vec<SeenReplica>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
