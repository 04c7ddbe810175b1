//! The index: which sessions are dead, and below which epoch each user's tokens are. Pure and in memory.

use std::{collections::HashMap, hash::Hash, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    claims::Principal,
    clock::BootInstant,
    error::Rejection,
    ids::{SessionId, UserId},
    moment::unix,
    revocation::{MAX_ACCESS_TOKEN_TTL, RETENTION, Revocation, Subject},
};

const NANOS: u64 = 1_000_000_000;
/// The most sessions for which room is made beforehand, 60 MiB, whatever the numbers of the log say.
const MOST_EXPECTED: usize = 1_000_000;

/// Number of parts of an index that are walked one by one.
pub const SHARDS: usize = 256;

/// Revoked sessions, and per user the lowest epoch whose tokens are still valid.
#[derive(Debug, Default)]
pub struct Index {
    sessions: Shards<SessionId, Lifetime>,
    users: Shards<UserId, (i64, Lifetime)>,
    /// Sessions that were opened before this moment are dead, in seconds since 1970.
    opened_before: Option<(u64, Lifetime)>,
    /// The latest end of an entry that was forgotten, in seconds since 1970. Tokens that it could have matched are refused,
    /// so that a wall clock that steps back revives nothing (REQUIREMENTS V6).
    forgotten_until: u64,
}

/// The time for which an entry stays: until its end by the wall clock. By a clock that does not jump, it stays at least
/// as long as it took to reach that end from when it was written. In whole seconds, rounded up, because there are
/// millions of them.
#[derive(Clone, Copy, Debug)]
struct Lifetime {
    /// Seconds since 1970.
    until: u32,
    /// Seconds since boot.
    applied_at: u32,
    origin: Origin,
}

/// The source of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A call to this replica, which asked for the end of what had ended. The log may never have said so, or say so no
    /// more.
    Local,
    /// The log.
    Log,
}

impl Lifetime {
    fn new(until: OffsetDateTime, applied_at: BootInstant, origin: Origin) -> Self {
        let until = unix(until).saturating_add(u64::from(until.nanosecond() > 0));
        let applied_at = applied_at.as_nanos().div_ceil(NANOS);
        Self {
            until: u32::try_from(until).unwrap_or(u32::MAX),
            applied_at: u32::try_from(applied_at).unwrap_or(u32::MAX),
            origin,
        }
    }

    fn max(self, other: Self) -> Self {
        Self {
            until: self.until.max(other.until),
            applied_at: self.applied_at.max(other.applied_at),
            origin: self.origin.max(other.origin),
        }
    }

    fn is_over(self, now: OffsetDateTime, boot: BootInstant) -> bool {
        let applied_at = BootInstant::from_nanos(u64::from(self.applied_at) * NANOS);
        self.has_ended(now) && boot.since(applied_at) >= RETENTION
    }

    fn has_ended(self, now: OffsetDateTime) -> bool {
        u64::from(self.until) <= unix(now)
    }

    fn until(self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(self.until.into())
    }
}

/// A map in parts that can be walked one by one: nobody waits until all of it has been.
#[derive(Debug)]
struct Shards<K, V>(Box<[HashMap<K, V>]>);

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| HashMap::new()).collect())
    }
}

impl<K: Copy + Eq + Hash + Into<Uuid>, V> Shards<K, V> {
    /// The number of the part for a key: by its last byte, which is random.
    fn place(key: K) -> usize {
        let [.., last] = key.into().into_bytes();
        usize::from(last)
    }

    fn get(&self, key: K) -> Option<&V> {
        self.0.get(Self::place(key))?.get(&key)
    }

    #[expect(clippy::indexing_slicing, reason = "there is a part for each byte")]
    fn of(&mut self, key: K) -> &mut HashMap<K, V> {
        &mut self.0[Self::place(key)]
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(HashMap::is_empty)
    }

    fn len(&self) -> usize {
        self.0.iter().map(HashMap::len).sum()
    }
}

impl Index {
    /// The number of entries.
    pub fn entries(&self) -> usize {
        self.sessions.len() + self.users.len() + usize::from(self.opened_before.is_some())
    }

    /// Makes room for so many sessions if nothing has been added yet; says whether that is so.
    pub fn reserve_if_empty(&mut self, sessions: usize) -> bool {
        let empty = self.sessions.is_empty() && self.users.is_empty() && self.opened_before.is_none();
        if empty {
            // Parts differ by a little.
            let each = sessions.min(MOST_EXPECTED) / SHARDS;
            self.sessions.0.iter_mut().for_each(|part| part.reserve(each + each / 8));
        }
        empty
    }

    /// Adds a revocation, `boot` being the time since boot.
    pub fn apply(&mut self, revocation: &Revocation, origin: Origin, boot: BootInstant) {
        let fresh = Lifetime::new(revocation.expires_at, boot, origin);
        match revocation.subject {
            Subject::Session(id) => {
                let lifetime = self.sessions.of(id).entry(id).or_insert(fresh);
                *lifetime = lifetime.max(fresh);
            }
            Subject::User(id, epoch) => {
                let (least, lifetime) = self.users.of(id).entry(id).or_insert((epoch, fresh));
                *least = epoch.max(*least);
                *lifetime = lifetime.max(fresh);
            }
            Subject::OpenedBefore(moment) => {
                let (latest, lifetime) = self.opened_before.get_or_insert((moment, fresh));
                *latest = moment.max(*latest);
                *lifetime = lifetime.max(fresh);
            }
            // What the keys are is kept with the keys.
            Subject::Keys => {}
        }
    }

    /// Passes if no token of `principal` is dead.
    ///
    /// # Errors
    /// [`Rejection::Revoked`]; [`Rejection::Expired`] when what could be known of it has been forgotten.
    pub fn check(&self, principal: &Principal) -> Result<(), Rejection> {
        let Principal { session_id, user_id, epoch, opened_at, .. } = *principal;
        if self.has_ended(session_id, user_id, epoch, opened_at) {
            return Err(Rejection::Revoked);
        }
        // A session that was revoked has no token that was issued later than that, even by another clock.
        let issued_before = self.forgotten_until.saturating_sub(MAX_ACCESS_TOKEN_TTL.as_secs());
        if principal.expires_at < self.forgotten_until && principal.issued_at < issued_before {
            return Err(Rejection::Expired);
        }
        Ok(())
    }

    /// True if a session is known to have ended, opened at that second and under that epoch of its user.
    pub fn has_ended(&self, session: SessionId, user: UserId, epoch: i64, opened_at: u64) -> bool {
        let least = self.users.get(user).map(|(least, _)| *least);
        self.sessions.get(session).is_some()
            || least.is_some_and(|least| epoch < least)
            || self.opened_before.is_some_and(|(moment, _)| opened_at < moment)
    }

    /// Revocations of the log that have time left, of a part below [`SHARDS`].
    pub fn snapshot(&self, part: usize, now: OffsetDateTime) -> Vec<Revocation> {
        let sessions = self.sessions.0.get(part).into_iter().flatten();
        let users = self.users.0.get(part).into_iter().flatten();
        let opened = self.opened_before.iter().filter(|_| part == 0);
        let sessions = sessions.map(|(id, lifetime)| (Subject::Session(*id), lifetime));
        let users = users.map(|(id, (epoch, lifetime))| (Subject::User(*id, *epoch), lifetime));
        let opened = opened.map(|(moment, lifetime)| (Subject::OpenedBefore(*moment), lifetime));
        let live = sessions.chain(users).chain(opened).filter(|(_, l)| l.origin == Origin::Log && !l.has_ended(now));
        live.map(|(subject, lifetime)| Revocation { subject, expires_at: lifetime.until() }).collect()
    }

    /// Forgets entries of a part below [`SHARDS`] whose time is over by both clocks.
    pub fn evict_expired(&mut self, part: usize, now: OffsetDateTime, boot: BootInstant) {
        let mut forgotten_until = self.forgotten_until;
        let mut stays = |lifetime: &Lifetime| {
            let over = lifetime.is_over(now, boot);
            if over {
                forgotten_until = forgotten_until.max(lifetime.until.into());
            }
            !over
        };
        if let Some(sessions) = self.sessions.0.get_mut(part) {
            sessions.retain(|_, lifetime| stays(lifetime));
        }
        if let Some(users) = self.users.0.get_mut(part) {
            users.retain(|_, (_, lifetime)| stays(lifetime));
        }
        self.opened_before = self.opened_before.filter(|(_, lifetime)| stays(lifetime));
        self.forgotten_until = forgotten_until;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
    const BOOT: BootInstant = BootInstant::from_nanos(7);

    fn principal(session_id: SessionId, user_id: UserId, epoch: i64) -> Principal {
        Principal {
            user_id,
            session_id,
            epoch,
            opened_at: 0,
            token_id: "t".into(),
            roles: vec![],
            audience: vec![],
            username: None,
            starts_at: unix(T0),
            issued_at: 0,
            expires_at: 600,
        }
    }

    fn snapshot(index: &Index) -> Vec<Revocation> {
        (0..SHARDS).flat_map(|part| index.snapshot(part, T0)).collect()
    }

    fn evict_expired(index: &mut Index, now: OffsetDateTime, boot: BootInstant) {
        (0..SHARDS).for_each(|part| index.evict_expired(part, now, boot));
    }

    fn revocation(subject: Subject) -> Revocation {
        Revocation { subject, expires_at: T0 + RETENTION }
    }

    #[test]
    fn p1_a_revoked_session_is_dead_and_no_other() {
        let (session, user) = (SessionId::new(T0), UserId::new(T0));
        let mut index = Index::default();
        index.apply(&revocation(Subject::Session(session)), Origin::Log, BOOT);
        assert_eq!(index.check(&principal(session, user, 9)), Err(Rejection::Revoked));
        assert_eq!(index.check(&principal(SessionId::new(T0), user, 0)), Ok(()));
    }

    #[test]
    fn p1_tokens_below_the_users_epoch_are_dead() {
        let (session, user) = (SessionId::new(T0), UserId::new(T0));
        let mut index = Index::default();
        index.apply(&revocation(Subject::User(user, 3)), Origin::Log, BOOT);
        index.apply(&revocation(Subject::User(user, 2)), Origin::Log, BOOT);
        assert_eq!(index.check(&principal(session, user, 2)), Err(Rejection::Revoked));
        assert_eq!(index.check(&principal(session, user, 3)), Ok(()));
        assert_eq!(index.check(&principal(session, UserId::new(T0), 0)), Ok(()));
    }

    #[test]
    fn p1_tokens_of_sessions_that_were_opened_before_a_moment_are_dead() {
        let opened = |opened_at| Principal { opened_at, ..principal(SessionId::new(T0), UserId::new(T0), 0) };
        let mut index = Index::default();
        for moment in [70, 50] {
            index.apply(&revocation(Subject::OpenedBefore(moment)), Origin::Log, BOOT);
        }
        assert_eq!(index.check(&opened(69)), Err(Rejection::Revoked));
        assert_eq!(index.check(&opened(70)), Ok(()));
        assert_eq!(snapshot(&index), [revocation(Subject::OpenedBefore(70))]);
        evict_expired(&mut index, T0 + RETENTION, BootInstant::from_nanos(u64::MAX));
        assert_eq!(index.check(&Principal { expires_at: u64::MAX, ..opened(69) }), Ok(()), "its row says it by then");
    }

    #[test]
    fn entries_leave_when_they_expire_by_both_clocks_and_not_before() {
        let session = SessionId::new(T0);
        let dead = principal(session, UserId::new(T0), 0);
        let second = Duration::from_secs(1);
        let (booted, retained) =
            (BootInstant::from_nanos(7), BootInstant::from_nanos(NANOS + RETENTION.as_nanos() as u64));
        let mut index = Index::default();
        index.apply(&revocation(Subject::Session(session)), Origin::Log, booted);
        for (now, boot) in [
            (T0 + RETENTION - second, retained),
            // The wall clock was set four hours ahead for a moment.
            (T0 + 2 * RETENTION, booted),
        ] {
            evict_expired(&mut index, now, boot);
            assert_eq!(index.check(&dead), Err(Rejection::Revoked));
        }
        evict_expired(&mut index, T0 + RETENTION, retained);
        assert!(index.sessions.is_empty() && index.users.is_empty());
    }

    #[test]
    fn v6_a_wall_clock_that_steps_back_revives_nothing() {
        let session = SessionId::new(T0);
        let mut index = Index::default();
        index.apply(&revocation(Subject::Session(session)), Origin::Log, BOOT);
        evict_expired(&mut index, T0 + RETENTION, BootInstant::from_nanos(u64::MAX));
        // By a clock that stands at T0 again this token would be alive.
        let dead = principal(session, UserId::new(T0), 0);
        assert_eq!(index.check(&dead), Err(Rejection::Expired));
        let after = Principal { expires_at: unix(T0 + RETENTION), ..dead.clone() };
        assert_eq!(index.check(&after), Ok(()));
        // Issued so late that its session cannot have been what was revoked.
        let later = Principal { issued_at: unix(T0 + RETENTION) - 3600, ..dead };
        assert_eq!(index.check(&later), Ok(()));
    }

    #[test]
    fn what_was_repeated_is_dead_and_only_what_the_log_said_is_put_back() {
        let (logged, repeated, user) = (SessionId::new(T0), SessionId::new(T0), UserId::new(T0));
        let mut index = Index::default();
        index.apply(&revocation(Subject::Session(repeated)), Origin::Local, BOOT);
        for origin in [Origin::Local, Origin::Log, Origin::Local] {
            index.apply(&revocation(Subject::Session(logged)), origin, BOOT);
        }
        assert!(index.has_ended(repeated, user, 0, 0) && index.has_ended(logged, user, 0, 0));
        assert_eq!(snapshot(&index), [revocation(Subject::Session(logged))]);
    }

    #[test]
    fn every_part_is_walked() {
        let mut index = Index::default();
        let subjects: Vec<Subject> = (0..1000)
            .flat_map(|n| [Subject::Session(SessionId::new(T0)), Subject::User(UserId::new(T0), n)])
            .chain([Subject::OpenedBefore(7)])
            .collect();
        for subject in &subjects {
            index.apply(&revocation(*subject), Origin::Log, BOOT);
        }
        let mut said: Vec<String> =
            snapshot(&index).iter().map(|revocation| format!("{:?}", revocation.subject)).collect();
        let mut expected: Vec<String> = subjects.iter().map(|subject| format!("{subject:?}")).collect();
        said.sort();
        expected.sort();
        assert_eq!(said, expected);
        evict_expired(&mut index, T0 + RETENTION, BootInstant::from_nanos(u64::MAX));
        assert!(snapshot(&index).is_empty() && index.sessions.is_empty() && index.users.is_empty());
    }

    proptest! {
        /// Order and repetition do not matter.
        #[test]
        fn applying_is_a_union(epochs in prop::collection::vec(0_i64..5, 1..10), probe in 0_i64..6) {
            let (session, user) = (SessionId::new(T0), UserId::new(T0));
            let (mut forward, mut backward) = (Index::default(), Index::default());
            for epoch in &epochs {
                forward.apply(&revocation(Subject::User(user, *epoch)), Origin::Log, BOOT);
            }
            for epoch in epochs.iter().chain(&epochs).rev() {
                backward.apply(&revocation(Subject::User(user, *epoch)), Origin::Log, BOOT);
            }
            let probe = principal(session, user, probe);
            prop_assert_eq!(forward.check(&probe), backward.check(&probe));
        }
    }
}
