//! Revoke, and every other way by which sessions end: mark the rows and append to the log in one transaction, then put
//! the same into this replica's index before answering (promise P1).

use time::OffsetDateTime;

use super::{Accounts, Auth, later, retrying};
use crate::{
    crypto::secret::Secret,
    domain::{
        ids::{SessionId, UserId},
        revocation::{RETENTION, Reason, Revocation, Subject},
        user::User,
    },
    error::Error,
    store::{Conn, refresh_tokens, replicas, revocations, users},
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

/// What was ended.
#[derive(Clone, Copy, Debug)]
pub struct Revoked {
    /// How many live sessions.
    pub sessions: usize,
    /// From this moment no replica accepts their tokens, whatever is broken.
    pub everywhere_by: OffsetDateTime,
}

/// What a transaction ended: the entries are in the log, and go into the index once it has committed.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) sessions: usize,
    revocations: Vec<Revocation>,
}

impl Auth {
    /// Ends sessions. Ending what has ended is fine, and so is a token that means nothing (RFC 7009 section 2.2).
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn revoke(&self, target: Target) -> Result<Revoked, Error> {
        let session = match target {
            Target::User(user, keep) => return self.accounts.end_user_sessions(user, keep).await,
            Target::Session(id) => Some(id),
            Target::RefreshToken(token) => self.keys.refresh.decode(token.expose()).map(|t| t.session_id),
            Target::AccessToken(token) => self.identify(token.expose()).ok().map(|p| p.session_id),
        };
        match session {
            Some(id) => self.accounts.end_session(id, Reason::Revoked).await,
            None => Ok(Revoked {
                sessions: 0,
                everywhere_by: later(self.accounts.clock.now(), self.accounts.policy.max_staleness),
            }),
        }
    }
}

impl Accounts {
    pub(super) async fn end_session(&self, id: SessionId, reason: Reason) -> Result<Revoked, Error> {
        retrying(async || {
            let mut tx = self.store.acquire().await?;
            let now = self.clock.now();
            tx.begin().await?;
            let ended = refresh_tokens::revoke(&mut tx, id, reason, now).await?;
            let mut ended = self.record_sessions(&mut tx, ended.as_slice(), reason, now).await?;
            // It may have ended on another replica a moment ago, and this one has not heard yet.
            ended.revocations = vec![session_revocation(id, now)];
            self.commit(tx, ended).await
        })
        .await
    }

    async fn end_user_sessions(&self, user: UserId, keep: Option<SessionId>) -> Result<Revoked, Error> {
        retrying(async || {
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            let ended = match users::lock(&mut tx, user).await {
                Ok(mut user) => self.end_all(&mut tx, &mut user, keep, Reason::Revoked).await?,
                // Nobody of that id: nothing to end.
                Err(Error::UserNotFound) => Ended::default(),
                Err(error) => return Err(error),
            };
            self.commit(tx, ended).await
        })
        .await
    }

    /// Ends the sessions of a user whose row `tx` has locked. All of them: by the user's epoch, which needs no clock.
    /// All but one: one by one, so that the tokens of that one live.
    pub(super) async fn end_all(
        &self,
        tx: &mut Conn,
        user: &mut User,
        keep: Option<SessionId>,
        reason: Reason,
    ) -> Result<Ended, Error> {
        let now = self.clock.now();
        let ended = refresh_tokens::revoke_all(tx, user.id, keep, reason, now).await?;
        if keep.is_some() {
            return self.record_sessions(tx, &ended, reason, now).await;
        }
        user.epoch += 1;
        user.updated_at = now;
        users::update(tx, user).await?;
        let revocation = Revocation { subject: Subject::User(user.id, user.epoch), expires_at: later(now, RETENTION) };
        revocations::append(tx, std::slice::from_ref(&revocation), reason, now).await?;
        let sessions = ended.iter().filter(|session| session.was_live).count();
        Ok(Ended { sessions, revocations: vec![revocation] })
    }

    async fn record_sessions(
        &self,
        tx: &mut Conn,
        ended: &[refresh_tokens::Ended],
        reason: Reason,
        now: OffsetDateTime,
    ) -> Result<Ended, Error> {
        let revocations: Vec<Revocation> = ended.iter().map(|session| session_revocation(session.id, now)).collect();
        if !revocations.is_empty() {
            revocations::append(tx, &revocations, reason, now).await?;
        }
        let sessions = ended.iter().filter(|session| session.was_live).count();
        Ok(Ended { sessions, revocations })
    }

    /// Commits, and makes this replica know it before anybody is answered.
    pub(super) async fn commit(&self, mut tx: Conn, ended: Ended) -> Result<Revoked, Error> {
        let bound = replicas::largest_max_staleness(&mut tx).await?;
        tx.commit().await?;
        self.revocations.apply(&ended.revocations);
        let everywhere_by = later(self.clock.now(), bound.max(self.policy.max_staleness));
        self.wake.notify_one();
        if !ended.revocations.is_empty()
            && let Err(error) = revocations::announce(&mut tx).await
        {
            tracing::debug!(%error, "the hint of a revocation was not sent; followers poll");
        }
        Ok(Revoked { sessions: ended.sessions, everywhere_by })
    }
}

fn session_revocation(id: SessionId, now: OffsetDateTime) -> Revocation {
    Revocation { subject: Subject::Session(id), expires_at: later(now, RETENTION) }
}
