//! Revoke, and every other way by which sessions end: mark the rows and append to the log in one transaction, then put
//! the same into this replica's index before answering (promise P1).

use std::time::Duration;

use time::OffsetDateTime;

use super::{Accounts, Auth, audit, later, retrying};
use crate::{
    crypto::secret::Secret,
    domain::{
        audit::{Event, Kind},
        ids::{SessionId, UserId},
        revocation::{MAX_STALENESS, RETENTION, Reason, Revocation, Subject},
        user::User,
    },
    error::{Error, Rejection},
    revocation::{confirm::Mark, index::Origin},
    store::{self, Conn, refresh_tokens, revocations, users},
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
    /// What to wait for, so that it is true sooner.
    pub(super) confirmable: Confirmable,
}

/// Whether it can be known that every replica has heard.
#[derive(Clone, Copy, Debug)]
pub(super) enum Confirmable {
    /// There is nothing to hear.
    Already,
    /// When the others have applied this.
    From(Mark),
    /// The list of replicas could not be read.
    Never,
}

impl Auth {
    /// The session of an access token; None for what is none of ours.
    async fn session_of(&self, token: &str) -> Result<Option<SessionId>, Error> {
        let mut identified = self.identify(token);
        if let Err(Error::Rejected(Rejection::KeyUnknown)) = identified {
            self.accounts.hear_of_keys().await?;
            identified = self.identify(token);
        }
        match identified {
            Ok(principal) => Ok(Some(principal.session_id)),
            Err(Error::Rejected(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Revoked {
    /// There was nothing to end.
    fn nothing(now: OffsetDateTime) -> Self {
        Self { sessions: 0, everywhere_by: now, confirmable: Confirmable::Already }
    }
}

/// What a transaction ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// How many live sessions.
    pub(super) sessions: usize,
    /// Goes into the log with the transaction, and into this replica's index once it has committed.
    pub(super) logged: Vec<(Revocation, Reason)>,
    /// Goes into this replica's index alone: what other replicas ended a moment ago, and this one may not have heard.
    pub(super) known: Vec<Revocation>,
    /// What the transaction did.
    pub(super) events: Vec<Event>,
}

/// How long a caller that does not say waits for the other replicas.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(1);

const CLEAN_AFTER: Duration = Duration::from_secs(60);
const CLEAN_BATCH: i64 = 1000;

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
            return self.accounts.end_session(id, reason.into()).await;
        }
        // That it means nothing can be said only by who knows all keys (REQUIREMENTS R37).
        self.accounts.revocations.fresh(None)?;
        Ok(Revoked::nothing(self.accounts.clock.now()))
    }
}

impl Accounts {
    async fn end_user_sessions(&self, id: UserId, keep: Option<SessionId>) -> Result<Revoked, Error> {
        retrying(async || {
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            let ended = match users::lock(&mut tx, id).await {
                Ok(mut user) => {
                    let mut ended = self.end_all(&mut tx, &mut user, keep, Reason::Revoked).await?;
                    let event = Event::new(Kind::SessionsEnded, self.operator).about(&user).times(ended.sessions);
                    ended.events.push(Event { reason: Reason::Revoked.as_str(), ..event });
                    ended
                }
                Err(Error::UserNotFound) => {
                    let everything = user_revocation(id, i64::MAX, self.clock.now());
                    Ended { known: vec![everything], ..Ended::default() }
                }
                Err(error) => return Err(error),
            };
            self.commit(tx, ended).await
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
        if let Some(keep) = keep {
            let earlier = now.checked_sub(time::Duration::try_from(RETENTION).map_err(Error::internal)?);
            let known = refresh_tokens::revoked_since(tx, user.id, earlier.unwrap_or(now)).await?;
            let ended = refresh_tokens::revoke_others(tx, user, keep, reason, now).await?;
            return Ok(Ended {
                sessions: ended.iter().filter(|(_, live)| *live).count(),
                logged: ended.into_iter().map(|(id, _)| (session_revocation(id, now), reason)).collect(),
                known: known
                    .into_iter()
                    .map(|id| session_revocation(id, now))
                    // Those that ended by an epoch before.
                    .chain([user_revocation(user.id, user.epoch, now)])
                    .collect(),
                events: vec![],
            });
        }
        let sessions = refresh_tokens::count_live(tx, user, now).await?;
        user.epoch += 1;
        user.updated_at = now;
        users::update(tx, user).await?;
        let logged = vec![(user_revocation(user.id, user.epoch, now), reason)];
        Ok(Ended { sessions, logged, ..Ended::default() })
    }

    /// Writes the events and the log, commits, and makes this replica know it before anybody is answered.
    pub(super) async fn commit(&self, mut tx: Conn, ended: Ended) -> Result<Revoked, Error> {
        // Before the log, whose head is locked from then on.
        store::audit::insert(&mut tx, &ended.events, self.clock.now()).await?;
        if !ended.logged.is_empty() {
            revocations::append(&mut tx, &ended.logged, self.clock.now(), self.policy.hints.are_on()).await?;
        }
        tx.commit().await?;
        audit::log(&ended.events);
        let logged: Vec<Revocation> = ended.logged.into_iter().map(|(revocation, _)| revocation).collect();
        Ok(Revoked { sessions: ended.sessions, ..self.committed(&mut tx, &logged, &ended.known).await })
    }

    /// After a commit of what is `logged`: makes this replica know it, and finds out what to wait for.
    pub(super) async fn committed(&self, conn: &mut Conn, logged: &[Revocation], known: &[Revocation]) -> Revoked {
        if logged.is_empty() && known.is_empty() {
            return Revoked::nothing(self.clock.now());
        }
        self.revocations.apply(logged, Origin::Log);
        self.revocations.apply(known, Origin::Repeated);
        // After the commit: a replica that is not on the list by now reads the log after it.
        let (bound, confirmable) = match self.confirmations.after_commit(conn).await {
            Ok((bound, mark)) => (bound, Confirmable::From(mark)),
            Err(_) => (MAX_STALENESS, Confirmable::Never),
        };
        let everywhere_by = later(self.clock.now(), bound.max(self.policy.max_staleness));
        Revoked { sessions: 0, everywhere_by, confirmable }
    }

    /// Whether no replica accepts the tokens any more, within `wait` at the latest (promise P1).
    pub async fn confirm(&self, revoked: &Revoked, wait: Duration) -> bool {
        match revoked.confirmable {
            Confirmable::Already => true,
            Confirmable::From(mark) => self.confirmations.confirm(mark, wait).await,
            Confirmable::Never => false,
        }
    }

    /// Deletes what nobody has to read any more: expired rows of the log, and replicas that were killed. By any replica, in
    /// small pieces.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn clean_log(&self) -> Result<(), Error> {
        let mut conn = self.store.acquire().await?;
        self.confirmations.forget_the_dead(&mut conn).await?;
        // A little later than they expire, so that clocks that differ by seconds do not matter.
        let before = self.clock.now() - CLEAN_AFTER;
        while revocations::prune(&mut conn, before, CLEAN_BATCH).await? > 0 {}
        Ok(())
    }
}

pub(super) fn session_revocation(id: SessionId, now: OffsetDateTime) -> Revocation {
    Revocation { subject: Subject::Session(id), expires_at: later(now, RETENTION) }
}

fn user_revocation(id: UserId, epoch: i64, now: OffsetDateTime) -> Revocation {
    Revocation { subject: Subject::User(id, epoch), expires_at: later(now, RETENTION) }
}
