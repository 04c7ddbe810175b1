//! The sessions: opening (`open.rs`), moving on (`rotations.rs`) and ending them (`end.rs`, `restores.rs`), ListSessions, and
//! deleting the rows of those that ended long ago.

mod end;
mod ended;
mod open;
mod restores;
mod rotations;

use std::{collections::HashMap, sync::Arc};

use time::OffsetDateTime;

pub(super) use self::ended::Ended;
use countersign_token::{
    ids::{SessionId, UserId},
    moment::saturating_add,
};

use self::rotations::RefreshBatcher;
use super::{base::Base, completion::to_completion, page::Page, proven::ProvenReads};
use crate::{
    domain::{audit::Cause, policy::SessionPolicy, session::Session},
    error::Error,
    revocation::{batch::RevocationBatcher, changes::Revoked},
    store::{
        Conn,
        sessions::{
            self, RotationUpdate,
            sweep::{self, Step},
        },
    },
};

/// Number of rows that one statement of the deletion looks at.
const SWEEP_PAGE: i64 = 1000;
/// Number of such statements that follow each other without a pause.
const SWEEP_PAGES: u32 = 32;

/// The sessions.
#[derive(Debug)]
pub struct Sessions {
    ending: RevocationBatcher,
    rotations: RefreshBatcher,
    /// Readings of a session that callers share.
    reads: Arc<ProvenReads<SessionId, Session>>,
    policy: SessionPolicy,
    base: Base,
}

impl Sessions {
    /// Sessions that live for as long as the policy says.
    pub fn new(policy: SessionPolicy, base: Base) -> Self {
        let ending = RevocationBatcher::new(Arc::clone(&base.log));
        let rotations = RefreshBatcher::new(base.store.clone(), base.clock.clone());
        Self { ending, rotations, reads: Arc::default(), policy, base }
    }

    /// Choices of the deployment.
    pub(super) fn policy(&self) -> &SessionPolicy {
        &self.policy
    }

    /// The batcher that ends single sessions.
    pub fn ending(&self) -> &RevocationBatcher {
        &self.ending
    }

    /// The batcher that moves sessions on.
    pub fn rotations(&self) -> &RefreshBatcher {
        &self.rotations
    }

    /// Ends one session. To be run to completion: others may be in the same transaction.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: it may or may not have ended.
    pub(super) async fn end(&self, session: SessionId, cause: Cause) -> Result<Revoked, Error> {
        self.ending.end(session, cause).await
    }

    /// The end of a session that is refreshed now and not again.
    pub(super) fn idle_end(&self, now: OffsetDateTime) -> OffsetDateTime {
        saturating_add(now, self.policy.idle_ttl)
    }

    /// Makes a rotation, if it is possible: None if not. To be run to completion: others may be in the same statement.
    ///
    /// # Errors
    /// [`Error::Overloaded`]; [`Error::DatabaseUnavailable`]: it may or may not have happened (REQUIREMENTS R66).
    pub(super) async fn rotate(&self, advance: RotationUpdate) -> Result<Option<Session>, Error> {
        self.rotations.rotate(advance).await
    }

    /// The session of that id, as it may be answered.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: nothing is known of it.
    pub(super) async fn prove(&self, id: SessionId) -> Result<Option<Session>, Error> {
        let (reads, store) = (Arc::clone(&self.reads), self.base.store.clone());
        to_completion(async move { reads.read(&store, id, find_sessions).await }).await
    }

    /// One page of a user's live sessions, oldest first.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn list(&self, user: UserId, page: Page) -> Result<Vec<Session>, Error> {
        let mut conn = self.base.store.acquire().await?;
        let now = self.base.clock.now();
        sessions::list(&mut conn, user, page.after, page.size.into(), now).await
    }

    /// Deletes sessions that have ended for longer than the policy keeps them, by this replica's clock and the
    /// database's. A clock that is wrong deletes nothing that lives (promise P2). A token of such a session is answered
    /// as before, because unknown and ended look alike. Goes on where the last call of any replica stopped, and says
    /// how far it came.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn delete_ended(&self) -> Result<Step, Error> {
        let mut conn = self.base.store.acquire().await?;
        let kept = self.policy.retention;
        let before = self.base.clock.now() - kept;
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

async fn find_sessions(conn: &mut Conn, ids: &[SessionId]) -> Result<HashMap<SessionId, Session>, Error> {
    let found = sessions::find_all(conn, ids).await?;
    Ok(found.into_iter().map(|session| (session.id, session)).collect())
}
