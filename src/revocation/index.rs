//! The index: which sessions are dead, and below which epoch each user's tokens are. Pure and in memory.

use std::collections::HashMap;

use time::OffsetDateTime;

use crate::{
    domain::{
        claims::Principal,
        ids::{SessionId, UserId},
        revocation::{Revocation, Subject},
    },
    error::Rejection,
};

/// What is dead.
#[derive(Debug, Default)]
pub struct Index {
    sessions: HashMap<SessionId, OffsetDateTime>,
    users: HashMap<UserId, LeastEpoch>,
    /// The greatest wall-clock time seen, so that a clock that steps back revives nothing (REQUIREMENTS V6).
    latest: Option<OffsetDateTime>,
}

#[derive(Clone, Copy, Debug)]
struct LeastEpoch {
    epoch: i64,
    until: OffsetDateTime,
}

impl Index {
    /// Adds a revocation.
    pub fn apply(&mut self, revocation: &Revocation) {
        let until = revocation.expires_at;
        match revocation.subject {
            Subject::Session(id) => {
                let entry = self.sessions.entry(id).or_insert(until);
                *entry = until.max(*entry);
            }
            Subject::User(id, epoch) => {
                let entry = self.users.entry(id).or_insert(LeastEpoch { epoch, until });
                entry.epoch = epoch.max(entry.epoch);
                entry.until = until.max(entry.until);
            }
        }
    }

    /// Whether a token of `principal` is dead.
    ///
    /// # Errors
    /// [`Rejection::Revoked`].
    pub fn check(&self, principal: &Principal) -> Result<(), Rejection> {
        let session_dead = self.sessions.contains_key(&principal.session_id);
        let least = self.users.get(&principal.user_id).map(|least| least.epoch);
        if session_dead || least.is_some_and(|epoch| principal.epoch < epoch) {
            return Err(Rejection::Revoked);
        }
        Ok(())
    }

    /// Forgets entries that have expired.
    pub fn collect(&mut self, now: OffsetDateTime) {
        let now = self.latest.map_or(now, |latest| latest.max(now));
        self.latest = Some(now);
        self.sessions.retain(|_, until| *until > now);
        self.users.retain(|_, least| least.until > now);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.sessions.len() + self.users.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::revocation::RETENTION;

    const T0: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn principal(session_id: SessionId, user_id: UserId, epoch: i64) -> Principal {
        Principal {
            user_id,
            session_id,
            epoch,
            token_id: "t".into(),
            roles: vec![],
            audience: vec![],
            issued_at: 0,
            expires_at: 600,
        }
    }

    fn revocation(subject: Subject) -> Revocation {
        Revocation { subject, expires_at: T0 + RETENTION }
    }

    #[test]
    fn p1_a_revoked_session_is_dead_and_no_other() {
        let (session, user) = (SessionId::new(T0), UserId::new(T0));
        let mut index = Index::default();
        index.apply(&revocation(Subject::Session(session)));
        assert_eq!(index.check(&principal(session, user, 9)), Err(Rejection::Revoked));
        assert_eq!(index.check(&principal(SessionId::new(T0), user, 0)), Ok(()));
    }

    #[test]
    fn p1_tokens_below_the_users_epoch_are_dead() {
        let (session, user) = (SessionId::new(T0), UserId::new(T0));
        let mut index = Index::default();
        index.apply(&revocation(Subject::User(user, 3)));
        index.apply(&revocation(Subject::User(user, 2)));
        assert_eq!(index.check(&principal(session, user, 2)), Err(Rejection::Revoked));
        assert_eq!(index.check(&principal(session, user, 3)), Ok(()));
        assert_eq!(index.check(&principal(session, UserId::new(T0), 0)), Ok(()));
    }

    #[test]
    fn entries_leave_when_they_expire_and_not_before() {
        let session = SessionId::new(T0);
        let mut index = Index::default();
        index.apply(&revocation(Subject::Session(session)));
        index.collect(T0 + RETENTION - Duration::from_secs(1));
        assert_eq!(index.len(), 1);
        index.collect(T0 + RETENTION);
        assert!(index.is_empty());
    }

    #[test]
    fn v6_a_clock_that_steps_back_revives_nothing() {
        let mut index = Index::default();
        index.collect(T0 + RETENTION);
        index.apply(&revocation(Subject::Session(SessionId::new(T0))));
        index.collect(T0);
        assert!(index.is_empty(), "expired by the greatest time seen");
    }

    proptest! {
        /// Order and repetition do not matter.
        #[test]
        fn applying_is_a_union(epochs in prop::collection::vec(0_i64..5, 1..10), probe in 0_i64..6) {
            let (session, user) = (SessionId::new(T0), UserId::new(T0));
            let (mut forward, mut backward) = (Index::default(), Index::default());
            for epoch in &epochs {
                forward.apply(&revocation(Subject::User(user, *epoch)));
            }
            for epoch in epochs.iter().chain(&epochs).rev() {
                backward.apply(&revocation(Subject::User(user, *epoch)));
            }
            let probe = principal(session, user, probe);
            prop_assert_eq!(forward.check(&probe), backward.check(&probe));
        }
    }
}
