//! Revocations of single sessions share statements: whoever asks while one is under way goes with the next, all together;
//! whoever asks alone goes at once. The head of the log is locked once for all of them.
//!
//! The statement takes longer to plan than to carry out. One session alone is ended on a connection that keeps its
//! plan. A plan that is made for no number of sessions would be a bad one for many.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use countersign_token::ids::SessionId;
use tokio::sync::oneshot;

use super::{
    changes::{Committed, Revoked},
    log::RevocationLog,
};
use crate::{
    audit::{self, call},
    domain::audit::{Cause, Event},
    error::Error,
    store::{PreparedConn, retrying},
    trace::Child,
};

/// The most that go into one transaction.
const BATCH: usize = 500;

/// Ends single sessions, those together that are asked for while a transaction is under way.
#[derive(Debug)]
pub struct RevocationBatcher {
    log: Arc<RevocationLog>,
    waiting: Mutex<Vec<Pending>>,
    /// Held by whoever carries out a batch: the connection for one that is alone.
    turn: tokio::sync::Mutex<PreparedConn>,
}

#[derive(Debug)]
struct Pending {
    session: SessionId,
    cause: Cause,
    answer: oneshot::Sender<Result<(Revoked, Option<Event>), Error>>,
}

impl RevocationBatcher {
    /// Ends sessions by way of this log. Nobody waits yet.
    pub fn new(log: Arc<RevocationLog>) -> Self {
        Self { log, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Number of callers that wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<Pending> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// Ends one session. To be run to completion: others may be in the same transaction.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: it may or may not have ended.
    pub async fn end(&self, session: SessionId, cause: Cause) -> Result<Revoked, Error> {
        let _span = Child::begin("session end");
        let (answer, mut answered) = oneshot::channel();
        // Whoever carries it out works for another call.
        let cause = Cause { call: call::names(), ..cause };
        self.lock().push(Pending { session, cause, answer });
        loop {
            let mut lane = self.turn.lock().await;
            // Whoever had the turn before may have taken this one along.
            if let Ok(outcome) = answered.try_recv() {
                drop(lane);
                let (revoked, event) = outcome?;
                // As part of the call that has ended it.
                audit::log(event.as_slice());
                return Ok(revoked);
            }
            let batch = self.take();
            if batch.is_empty() {
                return Err(Error::internal("a batch of revocations was given up"));
            }
            self.carry_out(&mut lane, batch).await;
        }
    }

    async fn carry_out(&self, lane: &mut PreparedConn, batch: Vec<Pending>) {
        // Of several that end one session the first has done it: it is told so, and the event says how.
        let mut sessions: HashMap<SessionId, Cause> = HashMap::new();
        for waiting in &batch {
            sessions.entry(waiting.session).or_insert_with(|| waiting.cause.clone());
        }
        match self.end_together(lane, &sessions).await {
            Ok((committed, mut live)) => {
                for waiting in batch {
                    let event = live.remove(&waiting.session);
                    let revoked = Revoked { sessions: usize::from(event.is_some()), committed: committed.clone() };
                    drop(waiting.answer.send(Ok((revoked, event))));
                }
            }
            Err(error) => {
                // In an outage those who have queued up meanwhile too, or the queue would grow faster than it is tried.
                let unavailable = matches!(error, Error::DatabaseUnavailable(_));
                let others = if unavailable { std::mem::take(&mut *self.lock()) } else { vec![] };
                for waiting in batch.into_iter().chain(others) {
                    drop(waiting.answer.send(Err(error.replicate_for_waiter())));
                }
            }
        }
    }

    /// Ends sessions by one statement, and gives those of them that were live, with their events.
    async fn end_together(
        &self,
        lane: &mut PreparedConn,
        sessions: &HashMap<SessionId, Cause>,
    ) -> Result<(Committed, HashMap<SessionId, Event>), Error> {
        let store = &self.log.store;
        if sessions.len() == 1 {
            match self.log.end_sessions(store.prepared(lane).await?, sessions).await {
                // Somebody holds its row for longer than a lane waits.
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
        retrying(async || self.log.end_sessions(&mut store.acquire().await?, sessions).await).await
    }
}
