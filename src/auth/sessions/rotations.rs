//! Rotations share statements: whoever asks while all lanes are busy goes with the next statement, all together; whoever
//! finds a lane free goes at once and alone, by the statement for one, which is faster alone. A lane is a connection. It is
//! handed from one batch to the next, and each batch is carried out by one of those who are in it. A batch that meets a row
//! which somebody holds gives up soon, and each of it goes alone, so that one session holds up no other.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_token::{clock::Clock, ids::SessionId};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    domain::session::Session,
    error::Error,
    store::{
        PreparedConn, Store, retrying,
        sessions::{self, RotationUpdate},
    },
};

/// How many statements may be under way, and the most rotations that one makes.
const LANES: usize = 2;
const BATCH: usize = 256;
/// How many may wait.
const MOST: usize = 10_000;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What became of a rotation: the session after it, or None if it was not possible.
type Outcome = Result<Option<Session>, Error>;

/// Makes rotations, those together that are asked for while all lanes are busy.
#[derive(Debug)]
pub struct RefreshBatcher {
    queue: RotationQueue,
    store: Store,
    clock: Clock,
}

/// Those who wait, and the lanes that nobody uses.
#[derive(Debug)]
struct RotationQueue(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Pending>,
    free: Vec<PreparedConn>,
    /// A statement that moves one of these would wait for the one that does so already.
    under_way: HashSet<SessionId>,
}

#[derive(Debug)]
struct Pending {
    advance: RotationUpdate,
    since: Instant,
    told: oneshot::Sender<BatchReply>,
}

/// What somebody who waits is told.
#[derive(Debug)]
enum BatchReply {
    Outcome(Outcome),
    /// Nothing has happened, because of a row in the batch that somebody holds: to go alone.
    Alone(RotationUpdate),
    /// To carry out a batch: its own rotation, and the others.
    Lead(PreparedConn, RotationUpdate, Vec<Pending>),
}

impl Default for RotationQueue {
    fn default() -> Self {
        let free = (0..LANES).map(|_| PreparedConn::default()).collect();
        Self(Mutex::new(Queue { waiting: VecDeque::new(), free, under_way: HashSet::new() }))
    }
}

impl RotationQueue {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane that is free, or what to wait for.
    fn free_lane_or_wait(&self, advance: RotationUpdate) -> Result<BatchReply, oneshot::Receiver<BatchReply>> {
        let mut queue = self.lock();
        if !queue.under_way.contains(&advance.session_id)
            && let Some(lane) = queue.free.pop()
        {
            queue.under_way.insert(advance.session_id);
            return Ok(BatchReply::Lead(lane, advance, Vec::new()));
        }
        if queue.waiting.len() >= MOST {
            return Ok(BatchReply::Outcome(Err(Error::Overloaded { retry_after: RETRY_AFTER })));
        }
        let (told, waiting) = oneshot::channel();
        queue.waiting.push_back(Pending { advance, since: Instant::now(), told });
        Err(waiting)
    }
}

impl Queue {
    /// The next batch, no session twice: a statement can move a row once. Nor one that is under way. Whoever has waited longer
    /// than `patience` is told so instead.
    fn take(&mut self, patience: Duration) -> Vec<Pending> {
        let (mut batch, mut later) = (Vec::new(), Vec::new());
        while batch.len() < BATCH
            && let Some(waiting) = self.waiting.pop_front()
        {
            if waiting.since.elapsed() > patience {
                let error = Error::DatabaseUnavailable("waited too long for a connection".into());
                drop(waiting.told.send(BatchReply::Outcome(Err(error))));
            } else if self.under_way.insert(waiting.advance.session_id) {
                batch.push(waiting);
            } else {
                later.push(waiting);
            }
        }
        self.put_back(later);
        batch
    }

    fn put_back(&mut self, waiting: Vec<Pending>) {
        waiting.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
    }

    fn done(&mut self, sessions: impl IntoIterator<Item = SessionId>) {
        for session in sessions {
            self.under_way.remove(&session);
        }
    }
}

/// A lane in use. Whatever becomes of its user, it goes on to those who wait, or is free again.
struct LaneTask<'a> {
    queue: &'a RotationQueue,
    store: &'a Store,
    lane: PreparedConn,
    sessions: Vec<SessionId>,
}

impl LaneTask<'_> {
    /// Makes one rotation, or several by one statement; says which.
    async fn rotate(&mut self, advances: &[RotationUpdate]) -> Result<Vec<Session>, Error> {
        let conn = self.store.prepared(&mut self.lane).await?;
        match advances {
            [alone] => sessions::advance(conn, alone).await.map(Vec::from_iter),
            several => sessions::advance_all(conn, several).await,
        }
    }
}

impl Drop for LaneTask<'_> {
    fn drop(&mut self) {
        let mut lane = std::mem::take(&mut self.lane);
        let mut queue = self.queue.lock();
        queue.done(self.sessions.drain(..));
        loop {
            let mut batch = queue.take(self.store.deadline());
            let Some(Pending { advance, told, .. }) = batch.pop() else {
                queue.free.push(lane);
                debug_assert!(queue.free.len() < LANES || queue.under_way.is_empty(), "a session is held for ever");
                return;
            };
            // Whoever does not wait any more does not lead. Who is told and then given up would take the lane along: all
            // who wait are run to completion.
            match told.send(BatchReply::Lead(lane, advance, batch)) {
                Err(BatchReply::Lead(back, gone, others)) => {
                    queue.done(others.iter().map(|waiting| waiting.advance.session_id).chain([gone.session_id]));
                    queue.put_back(others);
                    lane = back;
                }
                _ => return,
            }
        }
    }
}

impl RefreshBatcher {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { queue: RotationQueue::default(), store, clock }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.lock().waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many lanes nobody uses.
    pub fn free_lanes(&self) -> usize {
        self.queue.lock().free.len()
    }

    /// Makes a rotation, if it is possible: None if not. To be run to completion: others may be in the same statement.
    ///
    /// # Errors
    /// [`Error::Overloaded`]; [`Error::DatabaseUnavailable`]: it may or may not have happened (REQUIREMENTS R66).
    pub(super) async fn rotate(&self, advance: RotationUpdate) -> Outcome {
        let told = match self.queue.free_lane_or_wait(advance) {
            Ok(told) => told,
            Err(waiting) => waiting.await.map_err(|_| Error::internal("a batch of rotations was given up"))?,
        };
        match told {
            BatchReply::Outcome(outcome) => outcome,
            BatchReply::Alone(advance) => self.rotate_alone(&advance).await,
            BatchReply::Lead(lane, own, others) => self.rotate_all(lane, own, others).await,
        }
    }

    /// Waits for whoever holds the row.
    async fn rotate_alone(&self, advance: &RotationUpdate) -> Outcome {
        retrying(async || sessions::advance(&mut self.store.acquire_to_wait().await?, advance).await).await
    }

    /// Makes the rotations of a batch, tells the others, and gives the outcome of `own`.
    async fn rotate_all(&self, lane: PreparedConn, own: RotationUpdate, others: Vec<Pending>) -> Outcome {
        let own_id = own.session_id;
        let sessions = others.iter().map(|waiting| waiting.advance.session_id).chain([own_id]).collect();
        let mut turn = LaneTask { queue: &self.queue, store: &self.store, lane, sessions };
        let mut advances = vec![own];
        let mut telling = Vec::with_capacity(others.len());
        for Pending { advance, told, .. } in others {
            telling.push((advance.session_id, told));
            advances.push(advance);
        }
        // The grace begins when it happens, however long it was waited for.
        let now = self.clock.now();
        advances.iter_mut().for_each(|advance| advance.now = now);
        // Two batches side by side lock their rows in one order, where the planner does as it should.
        advances.sort_unstable_by_key(|advance| advance.session_id);
        let rotated = turn.rotate(&advances).await;
        // The next batch need not wait until all of this one have been told.
        drop(turn);
        match rotated {
            Ok(sessions) => {
                let mut sessions: HashMap<SessionId, Session> = sessions.into_iter().map(|s| (s.id, s)).collect();
                for (id, told) in telling {
                    drop(told.send(BatchReply::Outcome(Ok(sessions.remove(&id)))));
                }
                Ok(sessions.remove(&own_id))
            }
            // Somebody held a row: nothing has happened.
            Err(Error::Conflict) => {
                let mut advances: HashMap<SessionId, RotationUpdate> =
                    advances.into_iter().map(|advance| (advance.session_id, advance)).collect();
                for (id, told) in telling {
                    if let Some(advance) = advances.remove(&id) {
                        drop(told.send(BatchReply::Alone(advance)));
                    }
                }
                let own = advances.remove(&own_id).ok_or_else(|| Error::internal("a rotation vanished"))?;
                self.rotate_alone(&own).await
            }
            Err(error) => {
                for (_, told) in telling {
                    drop(told.send(BatchReply::Outcome(Err(error.again()))));
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::{domain::rotation::GenerationChange, store::StoreSettings};

    fn advance(session_id: SessionId) -> RotationUpdate {
        let (now, step) = (OffsetDateTime::UNIX_EPOCH, GenerationChange::rotation(1).expect("a step"));
        RotationUpdate { session_id, step, now, idle_expires_at: now, client: None }
    }

    #[test]
    fn a_session_that_is_under_way_waits_and_holds_up_no_other() {
        let rotations = RotationQueue::default();
        let [a, b, c] = [(); 3].map(|()| SessionId::new(OffsetDateTime::UNIX_EPOCH));
        let first = rotations.free_lane_or_wait(advance(a)).expect("a lane");
        let mut again = rotations.free_lane_or_wait(advance(a)).expect_err("it waits, with a lane free");
        let other = rotations.free_lane_or_wait(advance(b)).expect("a lane");
        assert!(matches!((first, other), (BatchReply::Lead(..), BatchReply::Lead(..))));
        let mut last = rotations.free_lane_or_wait(advance(c)).expect_err("no lane is free");
        let mut queue = rotations.lock();
        let ids = |batch: Vec<Pending>| batch.iter().map(|waiting| waiting.advance.session_id).collect::<Vec<_>>();
        assert_eq!(ids(queue.take(Duration::MAX)), [c], "past what waits");
        queue.done([c]);
        assert_eq!(ids(queue.take(Duration::MAX)), []);
        queue.done([a]);
        assert_eq!(ids(queue.take(Duration::MAX)), [a]);
        assert!(again.try_recv().is_err() && last.try_recv().is_err(), "nobody was told");
    }

    #[tokio::test]
    async fn whoever_does_not_wait_any_more_does_not_lead_and_holds_no_session() {
        let rotations = RotationQueue::default();
        let url = "postgres://nobody@localhost/nothing".to_owned();
        let store = Store::new(&StoreSettings { url, connections: 1, deadline: Duration::MAX }).expect("settings");
        let [a, b, gone, next] = [(); 4].map(|()| SessionId::new(OffsetDateTime::UNIX_EPOCH));
        let Ok(BatchReply::Lead(lane, ..)) = rotations.free_lane_or_wait(advance(a)) else { panic!("a lane is free") };
        let other = rotations.free_lane_or_wait(advance(b)).expect("a lane");
        let mut leads = rotations.free_lane_or_wait(advance(next)).expect_err("no lane is free");
        drop(rotations.free_lane_or_wait(advance(gone)).expect_err("no lane is free"));
        drop(LaneTask { queue: &rotations, store: &store, lane, sessions: vec![a] });
        assert!(
            matches!(leads.try_recv(), Ok(BatchReply::Lead(_, own, others)) if own.session_id == next && others.is_empty())
        );
        assert_eq!(rotations.lock().under_way, HashSet::from([b, next]));
        drop(other);
    }
}
