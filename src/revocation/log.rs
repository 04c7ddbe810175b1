//! The log of revocations, as it is written: the one door by which sessions, users and keys change. Audit events and
//! rows of the log are written and committed together. Then this replica knows it, before anybody is answered (promise
//! P1), and the others are woken and waited for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use countersign_token::{
    clock::Clock,
    ids::{SessionId, new_v7},
    index::Origin,
    moment::saturating_add,
    revocation::{MAX_STALENESS, RETENTION, Revocation, Subject},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{
    Revocations,
    announcements::Announcements,
    changes::{Changes, Committed, ConfirmationState},
    confirm::Confirmations,
    protocol::everywhere_within,
};
use crate::{
    audit::{self, call},
    domain::{
        audit::{Actor, Cause, Event},
        policy::RevocationPolicy,
        proxy::ProxyReport,
        rate::Rate,
        replica::{Confirmation, SeenReplica},
        revocation::Position,
    },
    error::Error,
    metrics,
    store::{
        self, Conn, Store, proxies,
        revocations::{self, EndedSessions, Ending},
    },
    trace::Child,
};

const CLEAN_AFTER: Duration = Duration::from_secs(60);
const CLEAN_BATCH: i64 = 1000;
/// A wait for confirmation that should be enough.
const PATIENT: Duration = Duration::from_secs(1);
/// The time for which what names an unknown key waits until this replica has certainly heard of its key.
const HEARS_WITHIN: Duration = Duration::from_secs(2);
/// Heartbeats that unknown keys bring about: so many at once, and one more as often as the follower heartbeats by itself.
const REQUESTS: u32 = 10;
const REQUESTS_REFILL: Duration = Duration::from_secs(1);

/// The log, and what this replica knows of it.
#[derive(Debug)]
pub struct RevocationLog {
    /// The id of this replica, by which the others know it.
    pub(super) replica: Uuid,
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) policy: RevocationPolicy,
    /// The actor of what is administered through this process.
    operator: Actor,
    pub(super) revocations: Arc<Revocations>,
    pub(super) confirmations: Arc<Confirmations>,
    pub(super) announcements: Arc<Announcements>,
    /// Asks this replica's follower for a heartbeat before it is due.
    pub(super) wake: Arc<Notify>,
    /// The budget of heartbeats that unknown keys ask for.
    requests: Mutex<Rate>,
    pub(super) metrics: metrics::Revocations,
}

impl RevocationLog {
    /// The log in this database, for a new replica that knows nothing of it yet. `operator` administers through this process.
    pub fn new(
        store: Store,
        policy: RevocationPolicy,
        operator: Actor,
        clock: Clock,
        metrics: metrics::Revocations,
    ) -> Self {
        let replica = new_v7(clock.now());
        let revocations = Arc::new(Revocations::new(policy.max_staleness, clock.clone()));
        let confirmations = Arc::new(Confirmations::new(replica, policy, clock.clone()));
        let (known, others) = (Arc::clone(&revocations), Arc::clone(&confirmations));
        let announcements = Arc::new(Announcements::new(replica, store.clone(), known, others));
        let wake = Arc::new(Notify::new());
        let requests = Mutex::new(Rate::new(REQUESTS, REQUESTS_REFILL));
        Self {
            replica,
            store,
            clock,
            policy,
            operator,
            revocations,
            confirmations,
            announcements,
            wake,
            requests,
            metrics,
        }
    }

    /// The name of this replica.
    pub fn replica(&self) -> Uuid {
        self.replica
    }

    /// Choices of the deployment.
    pub fn policy(&self) -> RevocationPolicy {
        self.policy
    }

    /// The revocations that this replica knows.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// Writes the events and the rows of the log, commits, and makes this replica know it before anybody is answered.
    ///
    /// # Errors
    /// [`Error::Conflict`]: nothing was changed. [`Error::DatabaseUnavailable`]: it may or may not have happened.
    pub async fn commit(&self, mut tx: Conn, changes: Changes) -> Result<Committed, Error> {
        let Changes { revocations, repeated, events } = changes;
        // Before the log, whose head is locked from then on.
        store::audit::insert(&mut tx, &events, &call::names(), self.clock.now()).await?;
        if revocations.is_empty() && repeated.is_empty() {
            tx.commit().await?;
            audit::log(&events);
            return Ok(Committed::NOTHING);
        }
        // Also when all had ended before: that may be said only by a database that commits.
        let newest = revocations::append(&mut tx, &revocations, self.clock.now()).await?;
        tx.commit().await?;
        audit::log(&events);
        let logged: Vec<Revocation> = revocations.into_iter().map(|(revocation, _)| revocation).collect();
        Ok(self.committed(&mut tx, newest, &logged, &repeated).await)
    }

    /// Ends sessions by one statement, which commits. Gives those of them that were live, with events that are not logged yet.
    pub(super) async fn end_sessions(
        &self,
        conn: &mut Conn,
        sessions: &HashMap<SessionId, Cause>,
    ) -> Result<(Committed, HashMap<SessionId, Event>), Error> {
        let now = self.clock.now();
        let ending = Ending { sessions, operator: self.operator, now, expires_at: saturating_add(now, RETENTION) };
        let EndedSessions { newest, ended } = revocations::end_sessions(conn, ending).await?;
        // Those that had ended before too: perhaps on another replica a moment ago.
        let (logged, repeated): (Vec<_>, Vec<_>) = sessions.keys().partition(|id| ended.contains_key(id));
        let revocations = |ids: Vec<SessionId>| {
            ids.into_iter().map(|id| Revocation::new(Subject::Session(id), now)).collect::<Vec<_>>()
        };
        let committed = self.committed(conn, newest, &revocations(logged), &revocations(repeated)).await;
        let live = ended.into_iter().filter_map(|(session, event)| Some((session, event?))).collect();
        Ok((committed, live))
    }

    /// Makes this replica know a commit that has written the log up to `newest`, with what is `logged`, and finds out
    /// what to wait for.
    async fn committed(
        &self,
        conn: &mut Conn,
        newest: Position,
        logged: &[Revocation],
        repeated: &[Revocation],
    ) -> Committed {
        self.revocations.state().apply(logged, Origin::Log);
        self.revocations.state().apply(repeated, Origin::Local);
        let announces = self.policy.notifications.are_on() && !logged.is_empty();
        let mut told = false;
        if announces {
            self.announcements.wake_own(logged);
            told = match self.operator {
                // It ends in a moment, and whatever it has started.
                Actor::CommandLine => revocations::notify(conn, None).await.is_ok(),
                _ => self.announcements.wake_others(),
            };
        }
        let since = Instant::now();
        // After the commit: a replica that is not on the list by now reads the log after it.
        let read = self.confirmations.observe_commit(conn, newest).await;
        if announces && !told {
            // One that has come since the last reading.
            self.announcements.wake_others();
        }
        // Perhaps another log than the one that is followed: whichever of them was left behind, the other must hold it.
        if !read.as_ref().is_ok_and(|pending| pending.in_followed_log) {
            self.revocations.distrust();
            self.wake.notify_one();
        }
        let (within, confirmation) = match read {
            Ok(pending) => (pending.everywhere_within, ConfirmationState::From(pending, since)),
            Err(_) => (everywhere_within(MAX_STALENESS), ConfirmationState::Never(since)),
        };
        Committed { everywhere_by: Some(saturating_add(self.clock.now(), within)), confirmation }
    }

    /// Waits until no replica accepts the tokens any more, for `wait` at the latest (promise P1); says if that is so.
    pub async fn confirm(&self, committed: &Committed, wait: Duration) -> Confirmation {
        let (confirmation, since) = match &committed.confirmation {
            ConfirmationState::Nothing => return Confirmation::default(),
            ConfirmationState::From(pending, since) => {
                let mut span = Child::begin("revocation confirmation");
                let confirmation = self.confirmations.confirm(pending, wait).await;
                span.set("countersign.confirmed", confirmation.confirmed);
                (confirmation, since)
            }
            ConfirmationState::Never(since) => (Confirmation::default(), since),
        };
        // Who hardly waits says nothing of how long it takes.
        if confirmation.confirmed || wait >= PATIENT {
            self.metrics.waited(since.elapsed(), confirmation.confirmed);
        }
        confirmation
    }

    /// The replicas, this one too, as their list was read last.
    pub fn replicas(&self) -> Vec<SeenReplica> {
        self.confirmations.seen()
    }

    /// Reads the list of replicas again and again until it is dropped, so that changes can be confirmed.
    pub async fn watch_replicas(&self) {
        self.confirmations.run(&self.store).await;
    }

    /// Reports the proxies that this replica tells, so that it is known what they have confirmed.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn report_proxies(&self, report: &ProxyReport) -> Result<(), Error> {
        proxies::report(&mut self.store.acquire().await?, self.replica, report).await
    }

    /// Asks this replica's follower for a heartbeat before it is due.
    pub fn request_heartbeat(&self) {
        self.wake.notify_one();
    }

    /// Waits for a heartbeat of the follower that is sent from now on: another replica may have made a key a moment ago. It is
    /// sent at once for a few, and else when it is due, so made-up names of keys cost next to nothing.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`].
    pub async fn wait_for_key_update(&self) -> Result<(), Error> {
        let heard = self.revocations.caught_up(self.clock.boot());
        // Without one, the next heartbeat is as good, which comes within a second.
        if self.requests.lock().unwrap_or_else(PoisonError::into_inner).take(1, self.clock.boot()) {
            self.request_heartbeat();
        }
        timeout(HEARS_WITHIN, heard).await.map_err(|_| Error::RevocationsStale)
    }

    /// Deletes what nobody has to read any more: expired rows of the log, and replicas that were killed. By any replica, in
    /// small pieces.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn clean(&self) -> Result<(), Error> {
        let mut conn = self.store.acquire().await?;
        self.confirmations.remove_silent_replicas(&mut conn).await?;
        // A little later than they expire, so that clocks that differ by seconds do not matter.
        let before = self.clock.now() - CLEAN_AFTER;
        while revocations::prune(&mut conn, before, CLEAN_BATCH).await? > 0 {}
        Ok(())
    }
}
