//! Revocations of single sessions share statements: whoever asks while one is under way goes with the next, all together;
//! whoever asks alone goes at once. The head of the log is locked once for all of them.
//!
//! The statement takes longer to plan than to carry out. One session alone is ended on a connection that keeps its plan; a
//! plan that is made for no number of sessions would be a bad one for many.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Accounts,
    revoke::{Revoked, session_revocation},
};
use crate::{
    audit,
    domain::{
        audit::{Cause, Event},
        ids::SessionId,
        moment::later,
        revocation::RETENTION,
    },
    error::Error,
    store::{
        Conn, Lane, retrying,
        revocations::{self, EndedSessions, Ending},
    },
};

/// What was ended, and which of them were live.
type Ended = (Revoked, HashSet<SessionId>);

/// The most that go into one transaction.
const BATCH: usize = 500;

/// Those who wait for the transaction under way to end.
#[derive(Debug, Default)]
pub struct RevocationQueue {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever carries out a batch: the connection for one that is alone.
    turn: tokio::sync::Mutex<Lane>,
}

#[derive(Debug)]
struct Waiting {
    session: SessionId,
    cause: Cause,
    answer: oneshot::Sender<Result<Revoked, Error>>,
}

impl RevocationQueue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }
}

impl Accounts {
    /// Ends one session. To be run to completion: others may be in the same transaction.
    pub(super) async fn end_session(&self, session: SessionId, cause: Cause) -> Result<Revoked, Error> {
        let (answer, mut answered) = oneshot::channel();
        self.queue.lock().push(Waiting { session, cause, answer });
        loop {
            let mut lane = self.queue.turn.lock().await;
            // Whoever had the turn before may have taken this one along.
            if let Ok(outcome) = answered.try_recv() {
                return outcome;
            }
            let batch = self.queue.take();
            if batch.is_empty() {
                return Err(Error::internal("a batch of revocations was given up"));
            }
            self.carry_out(&mut lane, batch).await;
        }
    }

    async fn carry_out(&self, lane: &mut Lane, batch: Vec<Waiting>) {
        let sessions: HashMap<SessionId, Cause> = batch.iter().map(|w| (w.session, w.cause.clone())).collect();
        match self.end_together(lane, &sessions).await {
            Ok((revoked, mut live)) => {
                for waiting in batch {
                    let sessions = usize::from(live.remove(&waiting.session));
                    drop(waiting.answer.send(Ok(Revoked { sessions, ..revoked.clone() })));
                }
            }
            Err(error) => {
                // In an outage those who have queued up meanwhile too, or the queue would grow faster than it is tried.
                let unavailable = matches!(error, Error::DatabaseUnavailable(_));
                let others = if unavailable { std::mem::take(&mut *self.queue.lock()) } else { vec![] };
                for waiting in batch.into_iter().chain(others) {
                    drop(waiting.answer.send(Err(error.again())));
                }
            }
        }
    }

    async fn end_together(&self, lane: &mut Lane, sessions: &HashMap<SessionId, Cause>) -> Result<Ended, Error> {
        if sessions.len() == 1 {
            match self.end_sessions(self.store.enter(lane).await?, sessions).await {
                // Somebody holds its row for longer than a lane waits.
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
        retrying(async || self.end_sessions(&mut self.store.acquire().await?, sessions).await).await
    }

    /// Ends sessions by one statement.
    async fn end_sessions(&self, conn: &mut Conn, sessions: &HashMap<SessionId, Cause>) -> Result<Ended, Error> {
        let now = self.clock.now();
        let ending = Ending { sessions, operator: self.operator, now, expires_at: later(now, RETENTION) };
        let EndedSessions { newest, ended } = revocations::end_sessions(conn, ending).await?;
        // Those that had ended before too: perhaps on another replica a moment ago.
        let (logged, known): (Vec<_>, Vec<_>) = sessions.keys().partition(|id| ended.contains_key(id));
        let revocations =
            |ids: Vec<SessionId>| ids.into_iter().map(|id| session_revocation(id, now)).collect::<Vec<_>>();
        let revoked = self.committed(conn, newest, &revocations(logged), &revocations(known)).await;
        let events: Vec<Event> = ended.into_values().flatten().collect();
        audit::log(&events);
        Ok((revoked, events.into_iter().filter_map(|event| event.session).collect()))
    }
}
