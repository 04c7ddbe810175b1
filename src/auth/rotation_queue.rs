//! Rotations share statements: whoever asks while all lanes are busy goes with the next statement, all together; whoever
//! finds a lane free goes at once and alone, by the statement for one, which is faster alone. A lane is a connection. It is
//! handed from one batch to the next, and each batch is carried out by one of those who are in it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::oneshot, time::Instant};

use super::Accounts;
use crate::{
    domain::{ids::SessionId, session::Session},
    error::Error,
    store::{
        Conn, Store,
        refresh_tokens::{self, Advance},
    },
};

/// How many statements may be under way, and the most rotations that one makes.
const LANES: usize = 2;
const BATCH: usize = 256;

/// What became of a rotation: the session after it, or None if it was not possible.
type Outcome = Result<Option<Session>, Error>;

/// Those who wait, and the lanes that nobody uses.
#[derive(Debug)]
pub struct RotationQueue(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    waiting: Vec<Waiting>,
    free: Vec<Lane>,
}

#[derive(Debug)]
struct Waiting {
    advance: Advance,
    told: oneshot::Sender<Told>,
}

/// What somebody who waits is told.
#[derive(Debug)]
enum Told {
    Outcome(Outcome),
    /// To carry out a batch: its own rotation, and the others.
    Lead(Lane, Advance, Vec<Waiting>),
}

/// A connection, and when it was used last; none before the first use and after a failure.
#[derive(Debug, Default)]
struct Lane(Option<(Conn, Instant)>);

impl Default for RotationQueue {
    fn default() -> Self {
        let free = (0..LANES).map(|_| Lane::default()).collect();
        Self(Mutex::new(Queue { waiting: Vec::new(), free }))
    }
}

impl RotationQueue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane that is free, or what to wait for.
    fn free_lane_or_wait(&self, advance: Advance) -> Result<(Lane, Advance), oneshot::Receiver<Told>> {
        let mut queue = self.lock();
        if let Some(lane) = queue.free.pop() {
            return Ok((lane, advance));
        }
        let (told, waiting) = oneshot::channel();
        queue.waiting.push(Waiting { advance, told });
        Err(waiting)
    }
}

impl Queue {
    /// The next batch, no session twice: a statement can move a row once.
    fn take(&mut self) -> Vec<Waiting> {
        let (mut batch, mut sessions, mut rest) = (Vec::new(), HashSet::new(), Vec::new());
        for waiting in self.waiting.drain(..) {
            if batch.len() < BATCH && sessions.insert(waiting.advance.session_id) {
                batch.push(waiting);
            } else {
                rest.push(waiting);
            }
        }
        self.waiting = rest;
        batch
    }
}

/// A lane in use. Whatever becomes of its user, it goes on to those who wait, or is free again.
struct Turn<'q> {
    queue: &'q RotationQueue,
    lane: Lane,
}

impl Turn<'_> {
    /// Makes one rotation, or several by one statement; says which.
    async fn rotate(&mut self, store: &Store, advances: &[Advance]) -> Result<Vec<Session>, Error> {
        let conn = store.connect_for_rotations(self.lane.0.take()).await?;
        let (conn, _) = self.lane.0.insert((conn, Instant::now()));
        let rotated = match advances {
            [alone] => refresh_tokens::advance(conn, alone).await.map(Vec::from_iter),
            several => refresh_tokens::advance_all(conn, several).await,
        };
        if matches!(rotated, Err(Error::DatabaseUnavailable(_))) {
            self.lane = Lane::default();
        }
        rotated
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut lane = std::mem::take(&mut self.lane);
        let mut queue = self.queue.lock();
        loop {
            let mut batch = queue.take();
            let Some(Waiting { advance, told }) = batch.pop() else {
                queue.free.push(lane);
                return;
            };
            // Whoever does not wait any more does not lead.
            match told.send(Told::Lead(lane, advance, batch)) {
                Err(Told::Lead(back, _, others)) => {
                    queue.waiting.splice(..0, others);
                    lane = back;
                }
                _ => return,
            }
        }
    }
}

impl Accounts {
    /// Makes a rotation, if it is possible: None if not. To be run to completion: others may be in the same statement.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: it may or may not have happened (REQUIREMENTS R66).
    pub(super) async fn rotate(&self, advance: Advance) -> Outcome {
        match self.rotations.free_lane_or_wait(advance) {
            Ok((lane, advance)) => self.rotate_all(lane, advance, Vec::new()).await,
            Err(told) => match told.await.map_err(|_| Error::internal("a batch of rotations was given up"))? {
                Told::Outcome(outcome) => outcome,
                Told::Lead(lane, own, others) => self.rotate_all(lane, own, others).await,
            },
        }
    }

    /// Makes the rotations of a batch, tells the others, and gives the outcome of `own`.
    async fn rotate_all(&self, lane: Lane, own: Advance, others: Vec<Waiting>) -> Outcome {
        let mut turn = Turn { queue: &self.rotations, lane };
        let own_id = own.session_id;
        let mut advances = vec![own];
        let mut telling = Vec::with_capacity(others.len());
        for Waiting { advance, told } in others {
            telling.push((advance.session_id, told));
            advances.push(advance);
        }
        // Two batches side by side lock their rows in one order. Where that does not hold, the database says who starts over.
        advances.sort_unstable_by_key(|advance| advance.session_id);
        let mut rotated = turn.rotate(&self.store, &advances).await;
        for _ in 0..2 {
            if let Err(Error::Conflict) = rotated {
                rotated = turn.rotate(&self.store, &advances).await;
            }
        }
        if let Err(Error::DatabaseUnavailable(_)) = rotated {
            // Those who have queued up meanwhile too, or the queue would grow faster than it is tried.
            telling.extend(self.rotations.lock().waiting.drain(..).map(|w| (w.advance.session_id, w.told)));
        }
        // The next batch need not wait until all of this one have been told.
        drop(turn);
        match rotated {
            Ok(sessions) => {
                let mut sessions: HashMap<SessionId, Session> = sessions.into_iter().map(|s| (s.id, s)).collect();
                for (id, told) in telling {
                    drop(told.send(Told::Outcome(Ok(sessions.remove(&id)))));
                }
                Ok(sessions.remove(&own_id))
            }
            Err(error) => {
                for (_, told) in telling {
                    drop(told.send(Told::Outcome(Err(error.again()))));
                }
                Err(error)
            }
        }
    }
}
