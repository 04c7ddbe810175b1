//! Revoke: which sessions a target names, and ending them. The transaction, and what follows it, is `revocation/log.rs`.

use std::time::Duration;

use uuid::Uuid;

use super::{Accounts, Auth};
use crate::{
    crypto::secret::Secret,
    domain::{
        audit::{Event, Kind},
        ids::{SessionId, UserId},
        revocation::{RETENTION, Reason, Revocation, Subject},
        user::User,
    },
    error::{Error, Rejection},
    revocation::log::{Changes, Committed, RevocationLog, Revoked},
    store::{Conn, retrying, sessions, users},
};

/// What to end.
#[derive(Debug)]
pub enum Target {
    /// The session of a refresh token, as it came.
    RefreshToken(Secret),
    /// The session of an access token, as it came.
    AccessToken(Secret),
    /// A session.
    Session(SessionId),
    /// All sessions of a user, perhaps but one.
    User(UserId, Option<SessionId>),
}

impl Auth {
    /// The session of an access token; None for what is none of ours.
    async fn session_of(&self, token: &str) -> Result<Option<SessionId>, Error> {
        let mut identified = self.identify(token);
        if let Err(Error::Rejected(Rejection::KeyUnknown)) = identified {
            self.accounts.log.hear_of_keys().await?;
            identified = self.identify(token);
        }
        match identified {
            Ok(principal) => Ok(Some(principal.session_id)),
            Err(Error::Rejected(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What a transaction ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// How many live sessions.
    pub(super) sessions: usize,
    /// What it changed.
    pub(super) changes: Changes,
}

impl Ended {
    /// Commits the transaction.
    pub(super) async fn commit(self, log: &RevocationLog, tx: Conn) -> Result<Revoked, Error> {
        Ok(Revoked { sessions: self.sessions, committed: log.commit(tx, self.changes).await? })
    }
}

/// How long a caller that does not say waits for the other replicas.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

impl Auth {
    /// Ends sessions. Ending what has ended is fine, and so is a token that means nothing (RFC 7009 section 2.2).
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]; [`Error::RevocationsStale`] for a token whose key this replica may not have heard of.
    pub async fn revoke(&self, target: Target) -> Result<Revoked, Error> {
        let (session, reason) = match target {
            Target::User(user, keep) => return self.accounts.end_user_sessions(user, keep).await,
            Target::Session(id) => (Some(id), Reason::Revoked),
            Target::RefreshToken(token) => {
                let token = self.read_refresh_token(token.expose()).await?;
                (token.map(|t| t.session_id), Reason::LoggedOut)
            }
            Target::AccessToken(token) => (self.session_of(token.expose()).await?, Reason::LoggedOut),
        };
        if let Some(id) = session {
            return self.accounts.ending.end(id, reason.into()).await;
        }
        // That it means nothing can be said only by who knows all keys (REQUIREMENTS R37).
        self.accounts.revocations.fresh(None)?;
        Ok(Revoked { sessions: 0, committed: Committed::NOTHING })
    }
}

impl Accounts {
    async fn end_user_sessions(&self, id: UserId, keep: Option<SessionId>) -> Result<Revoked, Error> {
        retrying(async || {
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            let ended = match users::find_for_update(&mut tx, id).await? {
                Some(mut user) => {
                    let mut ended = self.end_all(&mut tx, &mut user, keep, Reason::Revoked).await?;
                    let event = Event::new(Kind::SessionsEnded, self.operator).about(&user).times(ended.sessions);
                    ended.changes.events.push(Event { reason: Reason::Revoked.as_str(), ..event });
                    ended
                }
                // Deleted, or lost by a failover or a restore: its tokens may live (rule M2).
                None => {
                    let everything = Revocation::new(Subject::User(id, i64::MAX), self.clock.now());
                    let revocations = vec![(everything, Reason::Revoked)];
                    Ended { sessions: 0, changes: Changes { revocations, ..Changes::default() } }
                }
            };
            ended.commit(&self.log, tx).await
        })
        .await
    }

    /// Ends the sessions of a user whose row `tx` has locked. All of them: by the user's epoch, which needs no clock and
    /// touches no session's row. All but one: one by one, so that the tokens of that one live.
    pub(super) async fn end_all(
        &self,
        tx: &mut Conn,
        user: &mut User,
        keep: Option<SessionId>,
        reason: Reason,
    ) -> Result<Ended, Error> {
        let now = self.clock.now();
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
