//! What this replica knows of revocations, and how fresh that is. The follower is the only writer of freshness; `auth`
//! adds what it has just revoked itself.
//!
//! Architecture invariant: reading never waits for the database (promise P3). Freshness is read before the index
//! (REQUIREMENTS V2), and published only after the rows have been applied (V1).

pub mod announcements;
pub mod batch;
pub mod confirm;
pub mod feed;
pub mod follower;
mod full_load;
mod heartbeat;
mod hints;
pub mod index;
pub mod log;
pub mod protocol;
mod restore;

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::{
    clock::{Boot, Clock, Moment},
    domain::{
        claims::{Principal, unix},
        revocation::{LogEntry, Position, Revocation},
        session::Session,
    },
    error::{Error, Rejection},
};
use feed::{Feed, News};
use index::{Index, Origin};

/// No load has succeeded yet, or this replica is about to stop.
const NEVER: u64 = 0;
/// The database's clock has not been heard of yet: then nothing is fresh either.
const NO_DISTANCE: u64 = 0;
/// How many revocations are added while look-ups wait.
const APPLIED_AT_ONCE: usize = 1000;

/// The revocations that this replica knows.
#[derive(Debug)]
pub struct Revocations {
    index: RwLock<Index>,
    feed: Mutex<Feed>,
    /// The moment as of which the index is complete, by two clocks: in nanoseconds since boot, and since 1970. Whoever reads
    /// one of them older than the other takes the state for older than it is.
    as_of: AtomicU64,
    as_of_wall: AtomicU64,
    /// How far the wall clock is from the database's, in milliseconds.
    clock_distance: AtomicU64,
    /// The log that is followed may lack what was committed.
    distrusted: AtomicBool,
    published: watch::Sender<Option<Boot>>,
    max_staleness: Duration,
    clock: Clock,
}

/// Proof that the state was fresh when a look-up began.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    asked_at: OffsetDateTime,
    as_of: OffsetDateTime,
    as_of_boot: Boot,
}

/// Look-ups of one moment. Revocations are not added as long as it lives: nothing is to be done meanwhile but look up.
#[derive(Debug)]
pub struct LookUp<'a>(RwLockReadGuard<'a, Index>);

impl Freshness {
    /// When the state was seen to be fresh; by this machine's wall clock.
    pub fn asked_at(self) -> OffsetDateTime {
        self.asked_at
    }

    /// Every revocation acknowledged before this moment has been applied; by this machine's wall clock.
    pub fn as_of(self) -> OffsetDateTime {
        self.as_of
    }

    /// The same moment by the clock that does not jump.
    pub fn as_of_boot(self) -> Boot {
        self.as_of_boot
    }
}

impl LookUp<'_> {
    /// Whether the token of `principal` has been revoked.
    ///
    /// # Errors
    /// [`Rejection::Revoked`], [`Rejection::Expired`].
    pub fn check(&self, principal: &Principal) -> Result<(), Rejection> {
        self.0.check(principal)
    }
}

impl Revocations {
    /// Knows nothing, and so refuses every look-up (REQUIREMENTS V3).
    pub fn new(max_staleness: Duration, clock: Clock) -> Self {
        Self {
            index: RwLock::new(Index::default()),
            feed: Mutex::default(),
            as_of: AtomicU64::new(NEVER),
            as_of_wall: AtomicU64::new(NEVER),
            clock_distance: AtomicU64::new(NO_DISTANCE),
            distrusted: AtomicBool::new(false),
            published: watch::Sender::new(None),
            max_staleness,
            clock,
        }
    }

    /// Passes if the state is no older than the server's bound, and `tighter` if given.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`].
    pub fn fresh(&self, tighter: Option<Duration>) -> Result<Freshness, Error> {
        let bound = tighter.map_or(self.max_staleness, |t| t.min(self.max_staleness));
        let as_of_boot = match self.as_of.load(Ordering::Acquire) {
            NEVER => return Err(Error::RevocationsStale),
            nanos => Boot::from_nanos(nanos),
        };
        let as_of = Moment::new(as_of_boot, self.as_of_wall.load(Ordering::Acquire));
        let (boot, asked_at) = (self.clock.boot(), self.clock.now());
        let age = Moment::at(boot, asked_at).since(as_of);
        if age > bound {
            return Err(Error::RevocationsStale);
        }
        Ok(Freshness { asked_at, as_of: asked_at - age, as_of_boot })
    }

    /// Begins to look up which tokens have been revoked. Asks for the proof, so that it cannot come second.
    pub fn look_up(&self, _: Freshness) -> LookUp<'_> {
        LookUp(self.index())
    }

    /// Whether a session is known to have ended; fresh or not. The database may have lost that (REQUIREMENTS V4).
    pub fn has_ended(&self, session: &Session) -> bool {
        self.index().has_ended(session.id, session.user_id, session.epoch, unix(session.created_at))
    }

    /// Adds revocations. Adding one twice changes nothing.
    pub fn apply<'a>(&self, revocations: impl IntoIterator<Item = &'a Revocation>, origin: Origin) {
        let boot = self.clock.boot();
        let mut revocations = revocations.into_iter().peekable();
        // In small pieces, because Verify waits meanwhile.
        while revocations.peek().is_some() {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            for revocation in revocations.by_ref().take(APPLIED_AT_ONCE) {
                index.apply(revocation, origin, boot);
            }
        }
    }

    /// Makes room for a first load, if nothing is known yet; says whether that is so. A map that grows step by step hashes
    /// everything again at each.
    fn reserve_if_empty(&self, count: usize) -> bool {
        self.index.write().unwrap_or_else(PoisonError::into_inner).reserve_if_empty(count)
    }

    /// What a watcher that knows everything up to `known` is to be told.
    pub fn news(&self, known: Option<Position>) -> News {
        self.feed().after(known, self.clock.boot(), || self.live())
    }

    /// Each time there is something new, or the state has become fresher.
    pub fn published(&self) -> watch::Receiver<Option<Boot>> {
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

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn feed(&self) -> MutexGuard<'_, Feed> {
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that a token could still match.
    fn live(&self) -> Vec<Revocation> {
        self.index().live(self.clock.now())
    }

    /// Forgets what no token can match any more.
    pub fn collect(&self) {
        let (now, boot) = (self.clock.now(), self.clock.boot());
        self.index.write().unwrap_or_else(PoisonError::into_inner).collect(now, boot);
    }

    /// Declares the index complete as of `as_of`, which was read before the statement was sent.
    fn publish(&self, as_of: Moment) {
        self.as_of_wall.store(as_of.wall_nanos(), Ordering::Release);
        self.as_of.store(as_of.boot().as_nanos(), Ordering::Release);
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
    fn end(&self) {
        self.as_of.store(NEVER, Ordering::SeqCst);
    }

    /// Waits until the state is complete as of `moment`.
    pub async fn caught_up(&self, moment: Boot) {
        let mut published = self.published.subscribe();
        let reached = |as_of: &Option<Boot>| as_of.is_some_and(|as_of| as_of >= moment);
        // The sender lives in self, so the channel cannot close.
        drop(published.wait_for(reached).await);
    }
}
