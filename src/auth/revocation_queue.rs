//! Revocations of single sessions share transactions: whoever asks while one is under way goes with the next, all
//! together; whoever asks alone goes at once. The head of the log is locked once for all of them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Accounts, retrying,
    revoke::{Ended, Revoked, session_revocation},
};
use crate::{
    domain::{ids::SessionId, revocation::Reason},
    error::Error,
    store::refresh_tokens,
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
    reason: Reason,
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
    pub(super) async fn end_session(&self, session: SessionId, reason: Reason) -> Result<Revoked, Error> {
        let (answer, mut answered) = oneshot::channel();
        self.queue.lock().push(Waiting { session, reason, answer });
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
        let sessions: HashMap<SessionId, Reason> = batch.iter().map(|w| (w.session, w.reason)).collect();
        let outcome = retrying(async || self.end_sessions(&sessions).await).await;
        match outcome {
            Ok((revoked, mut live)) => {
                for waiting in batch {
                    let sessions = live.remove(&waiting.session).unwrap_or(0);
                    drop(waiting.answer.send(Ok(Revoked { sessions, ..revoked })));
                }
            }
            Err(error) => {
                for waiting in batch {
                    drop(waiting.answer.send(Err(again(&error))));
                }
            }
        }
    }

    /// One transaction. Says for each session that it ended how many live ones that were: one or none.
    async fn end_sessions(
        &self,
        sessions: &HashMap<SessionId, Reason>,
    ) -> Result<(Revoked, HashMap<SessionId, usize>), Error> {
        let mut tx = self.store.acquire().await?;
        let now = self.clock.now();
        tx.begin().await?;
        let marked = refresh_tokens::revoke(&mut tx, sessions, now).await?;
        let live = |ended| usize::from(ended == refresh_tokens::Ended::Live);
        let counts: HashMap<SessionId, usize> = marked.into_iter().map(|(id, ended)| (id, live(ended))).collect();
        let mut ended = Ended::default();
        for (id, reason) in sessions {
            let revocation = session_revocation(*id, now);
            if counts.contains_key(id) {
                ended.logged.push((revocation, *reason));
            } else {
                // It ended before, perhaps on another replica a moment ago.
                ended.known.push(revocation);
            }
        }
        Ok((self.commit(tx, ended).await?, counts))
    }
}

/// The same error for another caller.
fn again(error: &Error) -> Error {
    match error {
        Error::DatabaseUnavailable(source) => Error::DatabaseUnavailable(source.to_string().into()),
        Error::Conflict => Error::Conflict,
        Error::ShuttingDown => Error::ShuttingDown,
        other => Error::internal(other.to_string()),
    }
}
