//! The sessions of a user: opening one where there may be so many only, ListSessions, and deleting the rows of those that
//! ended long ago.

use super::{Accounts, Page};
use crate::{
    config::{SessionLimit, SessionLimitAction},
    domain::{
        audit::{Actor, Event, Kind},
        ids::{SessionId, UserId},
        revocation::{Reason, Revocation, Subject},
        session::Session,
    },
    error::Error,
    revocation::log::Changes,
    store::{
        credentials::Credentials,
        proofs, retrying,
        sessions::{
            self, Opening,
            sweep::{self, Step},
        },
        users,
    },
};

/// How many rows one statement of the deletion looks at, and how many statements follow each other.
const SWEEP_PAGE: i64 = 1000;
const SWEEP_PAGES: u32 = 32;

impl Accounts {
    /// Opens the session if the user may have one more, or ends the oldest ones for it; None when password, epoch or
    /// status of the user changed since they were read.
    ///
    /// # Errors
    /// [`Error::SessionLimitReached`], [`Error::DatabaseUnavailable`].
    pub(super) async fn open_within(
        &self,
        limit: SessionLimit,
        session: &Session,
        credentials: &Credentials,
    ) -> Result<Option<Session>, Error> {
        retrying(async || {
            let mut tx = self.store.acquire_for_login().await?;
            tx.begin().await?;
            // Before counting: whoever else logs this user in has committed what it opened, or waits.
            let user = match users::lock(&mut tx, session.user_id).await {
                Err(Error::UserNotFound) => return Ok(None),
                locked => locked?,
            };
            let now = self.clock.now();
            let mut surplus = sessions::live_but_newest(&mut tx, &user, limit.most.saturating_sub(1), now).await?;
            if limit.action == SessionLimitAction::Refuse && !surplus.is_empty() {
                proofs::commit(&mut tx).await?;
                return Err(Error::SessionLimitReached);
            }
            if sessions::open(&mut tx, session, credentials).await? == Opening::UserMoved {
                return tx.commit().await.map(|()| None);
            }
            if !surplus.is_empty() {
                // Those that somebody has ended meanwhile are not among them.
                surplus = sessions::revoke(&mut tx, &surplus, Reason::SessionLimit, now).await?;
            }
            let revocation = |id: &SessionId| (Revocation::new(Subject::Session(*id), now), Reason::SessionLimit);
            let revocations = surplus.iter().map(revocation).collect();
            let event = |id: &SessionId| {
                let ended = Event::new(Kind::SessionEnded, Actor::Server).about(&user);
                Event { session: Some(*id), reason: Reason::SessionLimit.as_str(), ..ended }
            };
            let events = surplus.iter().map(event).collect();
            self.log.commit(tx, Changes { revocations, events, ..Changes::default() }).await?;
            Ok(Some(session.clone()))
        })
        .await
    }

    /// One page of a user's live sessions, oldest first.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn list_sessions(&self, user: UserId, page: Page) -> Result<Vec<Session>, Error> {
        let mut conn = self.store.acquire().await?;
        let now = self.clock.now();
        sessions::list(&mut conn, user, page.after, page.size.into(), now).await
    }

    /// Deletes sessions that have ended for longer than the policy keeps them, by this replica's clock and the database's: a
    /// clock that is wrong deletes nothing that lives (promise P2). A token of such a session is answered as before, because
    /// unknown and ended look alike. Goes on where the last call of any replica stopped, and says how far it came.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn delete_ended_sessions(&self) -> Result<Step, Error> {
        let mut conn = self.store.acquire().await?;
        let kept = self.policy.session_retention;
        let before = self.clock.now() - kept;
        let mut step = Step::More;
        for _ in 0..SWEEP_PAGES {
            step = sweep::step(&mut conn, before, kept, SWEEP_PAGE).await?;
            if step != Step::More {
                break;
            }
        }
        Ok(step)
    }
}
