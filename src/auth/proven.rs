//! Readings that may be answered: of sessions and of credentials, by a transaction that writes and commits after it has read
//! (rule M1 in docs/revocation.md). Whoever asks while one is under way goes with the next, all together, so that one commit
//! proves what many have read.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    error::Error,
    store::{Conn, PreparedConn, Store, retrying},
};

/// The most rows that one statement reads.
const BATCH: usize = 500;
/// The most that may wait.
const MOST: usize = 10_000;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Readings of rows by their keys that callers share.
#[derive(Debug)]
pub(super) struct ProvenReads<K, V> {
    waiting: Mutex<Vec<Waiting<K, V>>>,
    /// Held by whoever carries out a batch.
    turn: tokio::sync::Mutex<PreparedConn>,
}

#[derive(Debug)]
struct Waiting<K, V> {
    key: K,
    answer: oneshot::Sender<Result<Option<V>, Error>>,
}

impl<K, V> Default for ProvenReads<K, V> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> ProvenReads<K, V> {
    /// The row of `key`, read by `find` from now on; None if there is none. To be run to completion: others may be in the same
    /// statement.
    pub(super) async fn read(
        &self,
        store: &Store,
        key: K,
        find: impl AsyncFn(&mut Conn, &[K]) -> Result<HashMap<K, V>, Error>,
    ) -> Result<Option<V>, Error> {
        let (answer, mut answered) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.len() >= MOST {
                return Err(Error::Overloaded { retry_after: RETRY_AFTER });
            }
            waiting.push(Waiting { key, answer });
        }
        loop {
            let mut lane = self.turn.lock().await;
            // Whoever had the turn before may have taken this one along.
            if let Ok(outcome) = answered.try_recv() {
                return outcome;
            }
            let batch = self.take();
            if batch.is_empty() {
                return Err(Error::internal("a batch of readings was given up"));
            }
            let keys: Vec<K> = batch.iter().map(|w| w.key.clone()).collect::<HashSet<_>>().into_iter().collect();
            let found = Self::find(store, &mut lane, &keys, &find).await;
            self.answer(batch, &found);
        }
    }

    async fn find(
        store: &Store,
        lane: &mut PreparedConn,
        keys: &[K],
        find: &impl AsyncFn(&mut Conn, &[K]) -> Result<HashMap<K, V>, Error>,
    ) -> Result<HashMap<K, V>, Error> {
        match find(store.prepared(lane).await?, keys).await {
            // Somebody holds the row of the proof for longer than a lane waits.
            Err(Error::Conflict) => retrying(async || find(&mut store.acquire().await?, keys).await).await,
            outcome => outcome,
        }
    }

    fn answer(&self, batch: Vec<Waiting<K, V>>, found: &Result<HashMap<K, V>, Error>) {
        // In an outage those who have queued up meanwhile too, or the queue would grow faster than it is tried.
        let unavailable = matches!(found, Err(Error::DatabaseUnavailable(_)));
        let others = if unavailable { std::mem::take(&mut *self.lock()) } else { vec![] };
        for Waiting { key, answer } in batch.into_iter().chain(others) {
            drop(answer.send(match found {
                Ok(rows) => Ok(rows.get(&key).cloned()),
                Err(error) => Err(error.replicate_for_waiter()),
            }));
        }
    }

    fn take(&self) -> Vec<Waiting<K, V>> {
        let mut waiting = self.lock();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting<K, V>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
