//! Readings that may be answered: of sessions and of credentials, by a transaction that writes and commits after it has read
//! (rule M1 in docs/revocation.md). Whoever asks while one is under way goes with the next, all together, so that one commit
//! proves what many have read.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Accounts, to_completion};
use crate::{
    domain::{ids::SessionId, session::Session, user::Username},
    error::Error,
    store::{
        Conn, Lane, Store,
        credentials::{self, Credentials},
        retrying, sessions,
    },
};

/// The most rows that one statement reads.
const BATCH: usize = 500;
/// The most that may wait.
const MOST: usize = 10_000;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Those who wait to read a row by its key.
#[derive(Debug)]
pub struct ProvenReads<K, V> {
    waiting: Mutex<Vec<Waiting<K, V>>>,
    /// Held by whoever carries out a batch.
    turn: tokio::sync::Mutex<Lane>,
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
    async fn read(
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
        lane: &mut Lane,
        keys: &[K],
        find: &impl AsyncFn(&mut Conn, &[K]) -> Result<HashMap<K, V>, Error>,
    ) -> Result<HashMap<K, V>, Error> {
        match find(store.enter(lane).await?, keys).await {
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
                Err(error) => Err(error.again()),
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

impl Accounts {
    /// The session of that id, as it may be answered.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: nothing is known of it.
    pub(super) async fn prove_session(&self, id: SessionId) -> Result<Option<Session>, Error> {
        let (reads, store) = (Arc::clone(&self.session_reads), self.store.clone());
        to_completion(async move { reads.read(&store, id, find_sessions).await }).await
    }

    /// The credentials of that name, as they may be answered.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: nothing is known of them.
    pub(super) async fn prove_credentials(&self, name: &Username) -> Result<Option<Credentials>, Error> {
        let (reads, store, name) = (Arc::clone(&self.credential_reads), self.store.clone(), name.clone());
        to_completion(async move { reads.read(&store, name, find_credentials).await }).await
    }
}

async fn find_sessions(conn: &mut Conn, ids: &[SessionId]) -> Result<HashMap<SessionId, Session>, Error> {
    let found = sessions::find_all(conn, ids).await?;
    Ok(found.into_iter().map(|session| (session.id, session)).collect())
}

async fn find_credentials(conn: &mut Conn, names: &[Username]) -> Result<HashMap<Username, Credentials>, Error> {
    let found = credentials::find_all(conn, names).await?;
    Ok(found.into_iter().map(|found| (found.user.username.clone(), found)).collect())
}
