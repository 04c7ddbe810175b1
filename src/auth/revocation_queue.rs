//! Revocations of single sessions share statements: whoever asks while one is under way goes with the next, all together;
//! whoever asks alone goes at once. The head of the log is locked once for all of them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Accounts, audit, later, retrying,
    revoke::{Revoked, session_revocation},
};
use crate::{
    domain::{
        audit::{Cause, Event},
        ids::SessionId,
        revocation::RETENTION,
    },
    error::Error,
    store::revocations::{self, Ending},
};

/// The most that go into one transaction.
const BATCH: usize = 500;

/// Those who wait for the transaction under way to end.
#[derive(Debug, Default)]
pub struct RevocationQueue {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever carries out a batch.
    turn: tokio::sync::Mutex<()>,
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
            let _turn = self.queue.turn.lock().await;
            // Whoever had the turn before may have taken this one along.
            if let Ok(outcome) = answered.try_recv() {
                return outcome;
            }
            let batch = self.queue.take();
            if batch.is_empty() {
                return Err(Error::internal("a batch of revocations was given up"));
            }
            self.carry_out(batch).await;
        }
    }

    async fn carry_out(&self, batch: Vec<Waiting>) {
        let sessions: HashMap<SessionId, Cause> = batch.iter().map(|w| (w.session, w.cause.clone())).collect();
        let outcome = retrying(async || self.end_sessions(&sessions).await).await;
        match outcome {
            Ok((revoked, mut live)) => {
                for waiting in batch {
                    let sessions = usize::from(live.remove(&waiting.session));
                    drop(waiting.answer.send(Ok(Revoked { sessions, ..revoked })));
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

    /// Ends sessions by one statement; says which were live.
    async fn end_sessions(&self, sessions: &HashMap<SessionId, Cause>) -> Result<(Revoked, HashSet<SessionId>), Error> {
        let mut conn = self.store.acquire().await?;
        let now = self.clock.now();
        let ending = Ending { sessions, operator: self.operator, now, expires_at: later(now, RETENTION) };
        let ended = revocations::end_sessions(&mut conn, ending, self.policy.hints.are_on()).await?;
        // Those that had ended before too: perhaps on another replica a moment ago.
        let (logged, known): (Vec<_>, Vec<_>) = sessions.keys().partition(|id| ended.contains_key(id));
        let revocations =
            |ids: Vec<SessionId>| ids.into_iter().map(|id| session_revocation(id, now)).collect::<Vec<_>>();
        let revoked = self.committed(conn, &revocations(logged), &revocations(known)).await;
        let events: Vec<Event> = ended.into_values().flatten().collect();
        audit::log(&events);
        Ok((revoked, events.into_iter().filter_map(|event| event.session).collect()))
    }
}
