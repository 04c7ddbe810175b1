//! Revoke, and every other way by which sessions end: mark the rows and append to the log in one transaction, then put
//! the same into this replica's index before answering (promise P1).

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Accounts, Auth};
use crate::{
    audit,
    crypto::secret::Secret,
    domain::{
        audit::{Actor, Event, Kind},
        ids::{SessionId, UserId},
        moment::later,
        revocation::{MAX_STALENESS, Position, RETENTION, Reason, Revocation, Subject},
        user::User,
    },
    error::{Error, Rejection},
    revocation::{confirm::Pending, index::Origin, protocol::everywhere_within},
    store::{self, Conn, retrying, revocations, sessions, users},
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
#[derive(Clone, Debug)]
pub struct Revoked {
    /// How many live sessions.
    pub sessions: usize,
    /// From this moment no replica accepts their tokens, whatever is broken; None if nothing was asked to end.
    pub everywhere_by: Option<OffsetDateTime>,
    /// What to wait for, so that it is true sooner.
    pub(super) confirmable: Confirmable,
}

/// Whether it can be known that every replica has heard.
#[derive(Clone, Debug)]
pub(super) enum Confirmable {
    /// Nothing was asked to end: there is nothing to hear, and nothing to confirm.
    Nothing,
    /// When the others have applied this.
    From(Pending),
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
    /// Nothing was asked to end, or what was asked for means nothing.
    const NOTHING: Self = Self { sessions: 0, everywhere_by: None, confirmable: Confirmable::Nothing };
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
        Ok(Revoked::NOTHING)
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
                    ended.events.push(Event { reason: Reason::Revoked.as_str(), ..event });
                    ended
                }
                // Deleted, or lost by a failover or a restore: its tokens may live (rule M2).
                None => {
                    let everything = user_revocation(id, i64::MAX, self.clock.now());
                    Ended { logged: vec![(everything, Reason::Revoked)], ..Ended::default() }
                }
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
        // A user that was lost and came back has had all epochs: then its sessions end one by one.
        let next_epoch = user.epoch.checked_add(1);
        let kept = keep.or(next_epoch.is_none().then_some(SessionId(Uuid::nil())));
        if let Some(keep) = kept {
            let earlier = now.checked_sub(time::Duration::try_from(RETENTION).map_err(Error::internal)?);
            let known = sessions::revoked_since(tx, user.id, earlier.unwrap_or(now)).await?;
            let ended = sessions::revoke_others(tx, user, keep, reason, now).await?;
            users::update(tx, user).await?;
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
        let sessions = sessions::count_live(tx, user, now).await?;
        user.epoch = next_epoch.unwrap_or(i64::MAX);
        user.updated_at = now;
        users::update(tx, user).await?;
        let logged = vec![(user_revocation(user.id, user.epoch, now), reason)];
        Ok(Ended { sessions, logged, ..Ended::default() })
    }

    /// Writes the events and the log, commits, and makes this replica know it before anybody is answered.
    pub(super) async fn commit(&self, mut tx: Conn, ended: Ended) -> Result<Revoked, Error> {
        let Ended { sessions, logged, known, events } = ended;
        // Before the log, whose head is locked from then on.
        store::audit::insert(&mut tx, &events, self.clock.now()).await?;
        if logged.is_empty() && known.is_empty() {
            tx.commit().await?;
            audit::log(&events);
            return Ok(Revoked::NOTHING);
        }
        // Also when all had ended before: that may be said only by a database that commits.
        let newest = revocations::append(&mut tx, &logged, self.clock.now()).await?;
        tx.commit().await?;
        audit::log(&events);
        let logged: Vec<Revocation> = logged.into_iter().map(|(revocation, _)| revocation).collect();
        Ok(Revoked { sessions, ..self.committed(&mut tx, newest, &logged, &known).await })
    }

    /// After a commit that has written the log up to `newest`, with what is `logged`: makes this replica know it, and finds out
    /// what to wait for.
    pub(super) async fn committed(
        &self,
        conn: &mut Conn,
        newest: Position,
        logged: &[Revocation],
        known: &[Revocation],
    ) -> Revoked {
        self.revocations.apply(logged, Origin::Log);
        self.revocations.apply(known, Origin::Repeated);
        let announces = self.policy.hints.are_on() && !logged.is_empty();
        let mut told = false;
        if announces {
            self.announcements.wake_own(logged);
            told = match self.operator {
                // It ends in a moment, and whatever it has started.
                Actor::CommandLine => revocations::notify(conn, None).await.is_ok(),
                _ => self.announcements.wake_others(),
            };
        }
        // After the commit: a replica that is not on the list by now reads the log after it.
        let read = self.confirmations.after_commit(conn, newest).await;
        if announces && !told {
            // One that has come since the last reading.
            self.announcements.wake_others();
        }
        // Perhaps another log than the one that is followed: whichever of them was left behind, the other must hold it.
        if !read.as_ref().is_ok_and(|pending| pending.in_followed_log) {
            self.revocations.distrust();
            self.wake.notify_one();
        }
        let (within, confirmable) = match read {
            Ok(pending) => (pending.everywhere_within, Confirmable::From(pending)),
            Err(_) => (everywhere_within(MAX_STALENESS), Confirmable::Never),
        };
        Revoked { sessions: 0, everywhere_by: Some(later(self.clock.now(), within)), confirmable }
    }

    /// Whether no replica accepts the tokens any more, within `wait` at the latest (promise P1).
    pub async fn confirm(&self, revoked: &Revoked, wait: Duration) -> bool {
        match &revoked.confirmable {
            Confirmable::From(pending) => self.confirmations.confirm(pending, wait).await,
            Confirmable::Nothing | Confirmable::Never => false,
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
