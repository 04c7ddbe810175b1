//! Ending the sessions of a user. The transaction, and what follows it, is `revocation/log.rs`.

use countersign_token::{
    ids::{SessionId, UserId},
    revocation::{RETENTION, Revocation, Subject},
};
use uuid::Uuid;

use super::{Sessions, ended::Ended};
use crate::{
    domain::{
        audit::{Event, Kind},
        revocation::Reason,
        user::User,
    },
    error::Error,
    revocation::changes::{Changes, Revoked},
    store::{Conn, retrying, sessions, users},
};

impl Sessions {
    /// Ends the sessions of a user, perhaps but one.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(in crate::auth) async fn end_of_user(&self, id: UserId, keep: Option<SessionId>) -> Result<Revoked, Error> {
        retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            tx.begin().await?;
            let ended = match users::find_for_update(&mut tx, id).await? {
                Some(mut user) => {
                    let mut ended = self.end_all(&mut tx, &mut user, keep, Reason::Revoked).await?;
                    let event = Event::new(Kind::SessionsEnded, self.base.operator).about(&user).times(ended.sessions);
                    ended.changes.events.push(Event { reason: Reason::Revoked.as_str(), ..event });
                    ended
                }
                // Deleted, or lost by a failover or a restore: its tokens may live (rule M2).
                None => {
                    let everything = Revocation::new(Subject::User(id, i64::MAX), self.base.clock.now());
                    let revocations = vec![(everything, Reason::Revoked)];
                    Ended { sessions: 0, changes: Changes { revocations, ..Changes::default() } }
                }
            };
            ended.commit(&self.base.log, tx).await
        })
        .await
    }

    /// Ends the sessions of a user whose row `tx` has locked. All of them: by the user's epoch, which needs no clock and
    /// touches no session's row. All but one: one by one, so that the tokens of that one live.
    pub(in crate::auth) async fn end_all(
        &self,
        tx: &mut Conn,
        user: &mut User,
        keep: Option<SessionId>,
        reason: Reason,
    ) -> Result<Ended, Error> {
        let now = self.base.clock.now();
        // A user that was lost and came back has had all epochs: then its sessions end one by one.
        let next_epoch = user.epoch.checked_add(1);
        let kept = keep.or(next_epoch.is_none().then_some(SessionId(Uuid::nil())));
        if let Some(keep) = kept {
            let earlier = now.checked_sub(time::Duration::try_from(RETENTION).map_err(Error::internal)?);
            let known = sessions::revoked_since(tx, user.id, earlier.unwrap_or(now)).await?;
            let ended = sessions::revoke_others(tx, user, keep, reason, now).await?;
            users::update(tx, user).await?;
            let revocation = |id: SessionId| Revocation::new(Subject::Session(id), now);
            // Those that ended by an epoch before.
            let earlier = Revocation::new(Subject::User(user.id, user.epoch), now);
            return Ok(Ended {
                sessions: ended.iter().filter(|(_, live)| *live).count(),
                changes: Changes {
                    revocations: ended.into_iter().map(|(id, _)| (revocation(id), reason)).collect(),
                    repeated: known.into_iter().map(revocation).chain([earlier]).collect(),
                    events: vec![],
                },
            });
        }
        let sessions = sessions::count_live(tx, user, now).await?;
        user.epoch = next_epoch.unwrap_or(i64::MAX);
        user.updated_at = now;
        users::update(tx, user).await?;
        let revocations = vec![(Revocation::new(Subject::User(user.id, user.epoch), now), reason)];
        Ok(Ended { sessions, changes: Changes { revocations, ..Changes::default() } })
    }
}
