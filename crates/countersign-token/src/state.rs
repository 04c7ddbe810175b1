//! The revocations that are known, and how fresh that is. Whoever follows the log is the only writer of freshness.
//!
//! Freshness is read before the index (REQUIREMENTS V2), and moved on only after the rows have been applied (V1).

use std::{
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use time::OffsetDateTime;

use super::{
    claims::Principal,
    clock::{BootInstant, Clock, Moment},
    error::{Error, Rejection},
    ids::{SessionId, UserId},
    index::{Index, Origin, SHARDS},
    revocation::Revocation,
};

/// No load has succeeded yet, or nothing is followed any more.
const NEVER: u64 = 0;
/// The most revocations that are added while look-ups wait.
const APPLIED_AT_ONCE: usize = 1000;

/// The revocations that are known, complete as of a moment.
#[derive(Debug)]
pub struct RevocationState {
    index: RwLock<Index>,
    /// The moment as of which the index is complete, by two clocks: in nanoseconds since boot, and since 1970. Whoever reads
    /// one of them older than the other takes the state for older than it is.
    as_of: AtomicU64,
    as_of_wall: AtomicU64,
    max_staleness: Duration,
    clock: Clock,
    /// Nanoseconds by which the issuer's wall clock is ahead of this machine's, as far as is known.
    issuer_ahead: AtomicI64,
}

/// Proof that the state was fresh when a look-up began.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    asked_at: OffsetDateTime,
    as_of: OffsetDateTime,
    as_of_boot: BootInstant,
}

/// Look-ups of one moment. Revocations are not added as long as it lives: nothing is to be done meanwhile but look up.
#[derive(Debug)]
pub struct LookUp<'a>(RwLockReadGuard<'a, Index>);

impl Freshness {
    /// The time when the state was seen to be fresh; by the issuer's wall clock, as far as that is known.
    pub fn asked_at(self) -> OffsetDateTime {
        self.asked_at
    }

    /// Every revocation acknowledged before this moment has been applied; by the same clock.
    pub fn as_of(self) -> OffsetDateTime {
        self.as_of
    }

    /// The same moment by the clock that does not jump.
    pub fn as_of_boot(self) -> BootInstant {
        self.as_of_boot
    }
}

impl LookUp<'_> {
    /// Passes if the token of `principal` has not been revoked.
    ///
    /// # Errors
    /// [`Rejection::Revoked`], [`Rejection::Expired`].
    pub fn check(&self, principal: &Principal) -> Result<(), Rejection> {
        self.0.check(principal)
    }
}

impl RevocationState {
    /// A state that knows nothing, and so refuses every look-up (REQUIREMENTS V3). It refuses what is older than `max_staleness`.
    pub fn new(max_staleness: Duration, clock: Clock) -> Self {
        let (as_of, as_of_wall) = (AtomicU64::new(NEVER), AtomicU64::new(NEVER));
        let issuer_ahead = AtomicI64::new(0);
        Self { index: RwLock::default(), as_of, as_of_wall, max_staleness, clock, issuer_ahead }
    }

    /// The bound: older state is refused.
    pub fn max_staleness(&self) -> Duration {
        self.max_staleness
    }

    /// The age of the state; None if nothing is known.
    pub fn age(&self) -> Option<Duration> {
        let as_of = match self.as_of.load(Ordering::Acquire) {
            NEVER => return None,
            nanos => Moment::new(BootInstant::from_nanos(nanos), self.as_of_wall.load(Ordering::Acquire)),
        };
        Some(Moment::at(self.clock.boot(), self.clock.now()).since(as_of))
    }

    /// The number of entries of the index.
    pub fn entries(&self) -> usize {
        self.index().entries()
    }

    /// Passes if the state is no older than the bound, and `tighter` if given.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn fresh(&self, tighter: Option<Duration>) -> Result<Freshness, Error> {
        let bound = tighter.map_or(self.max_staleness, |t| t.min(self.max_staleness));
        let as_of_boot = match self.as_of.load(Ordering::Acquire) {
            NEVER => return Err(Error::Stale),
            nanos => BootInstant::from_nanos(nanos),
        };
        let as_of = Moment::new(as_of_boot, self.as_of_wall.load(Ordering::Acquire));
        let (boot, asked_at) = (self.clock.boot(), self.clock.now());
        let age = Moment::at(boot, asked_at).since(as_of);
        if age > bound {
            return Err(Error::Stale);
        }
        // Only after the age: that is by clocks of one machine alone.
        let asked_at = self.by_the_issuer(asked_at);
        Ok(Freshness { asked_at, as_of: asked_at - age, as_of_boot })
    }

    /// Judges what has expired by a wall clock that is so many nanoseconds ahead of this machine's: that of the issuer. Ages go by
    /// this machine's clocks.
    pub fn follow_issuer_clock(&self, ahead: i64) {
        self.issuer_ahead.store(ahead, Ordering::Relaxed);
    }

    fn by_the_issuer(&self, now: OffsetDateTime) -> OffsetDateTime {
        match self.issuer_ahead.load(Ordering::Relaxed) {
            // The issuer itself, always.
            0 => now,
            ahead => now.checked_add(time::Duration::nanoseconds(ahead)).unwrap_or(now),
        }
    }

    /// Begins to look up which tokens have been revoked. Asks for the proof, so that it cannot come second.
    pub fn look_up(&self, _: Freshness) -> LookUp<'_> {
        LookUp(self.index())
    }

    /// True if a session is known to have ended, opened at that second and under that epoch of its user; fresh or not.
    pub fn has_ended(&self, session: SessionId, user: UserId, epoch: i64, opened_at: u64) -> bool {
        self.index().has_ended(session, user, epoch, opened_at)
    }

    /// Adds revocations. Adding one twice changes nothing.
    pub fn apply<'a>(&self, revocations: impl IntoIterator<Item = &'a Revocation>, origin: Origin) {
        let boot = self.clock.boot();
        let mut revocations = revocations.into_iter().peekable();
        // In small pieces, because look-ups wait meanwhile.
        while revocations.peek().is_some() {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            for revocation in revocations.by_ref().take(APPLIED_AT_ONCE) {
                index.apply(revocation, origin, boot);
            }
        }
    }

    /// Makes room for a first load, if nothing is known yet; says whether that is so. A map that grows step by step hashes
    /// everything again at each.
    pub fn reserve_if_empty(&self, count: usize) -> bool {
        self.index.write().unwrap_or_else(PoisonError::into_inner).reserve_if_empty(count)
    }

    /// All that a token could still match, of what the log has said, in parts. What is added meanwhile may be in it.
    pub fn snapshot(&self) -> impl Iterator<Item = Vec<Revocation>> + '_ {
        let now = self.clock.now();
        (0..SHARDS).map(move |part| self.index().snapshot(part, now))
    }

    /// Forgets what no token can match any more.
    pub fn evict_expired(&self) {
        let (now, boot) = (self.clock.now(), self.clock.boot());
        // In small pieces, because look-ups wait meanwhile.
        for part in 0..SHARDS {
            self.index.write().unwrap_or_else(PoisonError::into_inner).evict_expired(part, now, boot);
        }
    }

    /// Declares the index complete as of `as_of`, which was read before the statement was sent that said so.
    pub fn publish(&self, as_of: Moment) {
        self.as_of_wall.store(as_of.wall_nanos(), Ordering::Release);
        self.as_of.store(as_of.boot().as_nanos(), Ordering::Release);
    }

    /// Refuses every look-up from now on.
    pub fn withdraw(&self) {
        self.as_of.store(NEVER, Ordering::SeqCst);
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}
