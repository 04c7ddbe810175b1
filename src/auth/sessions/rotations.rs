//! Rotations share statements. A lane is a connection, with a task of its own as long as somebody waits. The task
//! carries out what has queued up, all together by one statement, until nothing is left. So whoever finds a lane free
//! goes at once and alone, by the statement for one, which is faster alone. A batch that meets a row which somebody
//! holds gives up soon, and each of it goes alone. So one session holds up no other.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    trace::Child,
};

/// The most statements that may be under way, and the most rotations that one makes.
const LANES: usize = 2;
const BATCH: usize = 256;
/// The most that may wait.
const MOST: usize = 10_000;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The outcome of a rotation: the session after it, or None if it was not possible.
type Outcome = Result<Option<Session>, Error>;

/// Makes rotations, those together that are asked for while all lanes are busy.
#[derive(Debug)]
pub struct RefreshBatcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    store: Store,
    clock: Clock,
}

/// The pending refreshes, and the lanes that nobody uses.
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

/// The reply to somebody who waits.
#[derive(Debug)]
enum BatchReply {
    Outcome(Outcome),
    /// Nothing has happened, because of a row in the batch that somebody holds: to go alone.
    Alone(RotationUpdate),
}

impl Default for Queue {
    fn default() -> Self {
        let free = (0..LANES).map(|_| PreparedConn::default()).collect();
        Self { waiting: VecDeque::new(), free, under_way: HashSet::new() }
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
        later.into_iter().rev().for_each(|waiting| self.waiting.push_front(waiting));
        batch
    }
}

/// A lane in use, and what is under way on it.
struct LaneTask {
    shared: Arc<Shared>,
    lane: PreparedConn,
    sessions: Vec<SessionId>,
}

impl LaneTask {
    /// Carries out batches until nobody waits.
    async fn run(mut self) {
        let mut batch = self.next();
        while !batch.is_empty() {
            let (mut advances, mut telling) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
            for Pending { advance, told, .. } in batch {
                telling.push((advance.session_id, told));
                advances.push(advance);
            }
            // The grace begins when it happens, however long it was waited for.
            let now = self.shared.clock.now();
            advances.iter_mut().for_each(|advance| advance.now = now);
            // Two batches side by side lock their rows in one order, where the planner does as it should.
            advances.sort_unstable_by_key(|advance| advance.session_id);
            let rotated = self.rotate(&advances).await;
            batch = self.next();
            tell(rotated, advances, telling);
        }
    }

    /// The next batch, once the last one is over. When nobody waits who could go there is none, and the lane is free.
    fn next(&mut self) -> Vec<Pending> {
        let mut queue = self.shared.lock();
        for session in self.sessions.drain(..) {
            queue.under_way.remove(&session);
        }
        let batch = queue.take(self.shared.store.deadline());
        self.sessions.extend(batch.iter().map(|waiting| waiting.advance.session_id));
        if batch.is_empty() {
            queue.free.push(std::mem::take(&mut self.lane));
            debug_assert!(queue.free.len() < LANES || queue.under_way.is_empty(), "a session is held for ever");
        }
        batch
    }

    /// Makes one rotation, or several by one statement; says which.
    async fn rotate(&mut self, advances: &[RotationUpdate]) -> Result<Vec<Session>, Error> {
        let conn = self.shared.store.prepared(&mut self.lane).await?;
        match advances {
            [alone] => sessions::advance(conn, alone).await.map(Vec::from_iter),
            several => sessions::advance_all(conn, several).await,
        }
    }
}

/// Tells those who were in a batch what became of it.
fn tell(
    rotated: Result<Vec<Session>, Error>,
    advances: Vec<RotationUpdate>,
    telling: Vec<(SessionId, oneshot::Sender<BatchReply>)>,
) {
    match rotated {
        Ok(sessions) => {
            let mut sessions: HashMap<SessionId, Session> = sessions.into_iter().map(|s| (s.id, s)).collect();
            for (id, told) in telling {
                drop(told.send(BatchReply::Outcome(Ok(sessions.remove(&id)))));
            }
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
        }
        Err(error) => {
            for (_, told) in telling {
                drop(told.send(BatchReply::Outcome(Err(error.replicate_for_waiter()))));
            }
        }
    }
}

/// Replaces a lane that a panic has lost by a new one, which goes on with the pending refreshes.
impl Drop for LaneTask {
    fn drop(&mut self) {
        if self.sessions.is_empty() {
            return;
        }
        let mut queue = self.shared.lock();
        for session in self.sessions.drain(..) {
            queue.under_way.remove(&session);
        }
        queue.free.push(PreparedConn::default());
        drop(queue);
        self.shared.start();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a free lane to work.
    fn start(self: &Arc<Self>) {
        if let Some(lane) = self.lock().free.pop() {
            let turn = LaneTask { shared: Arc::clone(self), lane, sessions: Vec::new() };
            tokio::spawn(turn.run());
        }
    }
}

impl RefreshBatcher {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { queue: Mutex::default(), store, clock }) }
    }

    /// The number of those who wait.
    pub fn len(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of lanes that nobody uses.
    pub fn free_lanes(&self) -> usize {
        self.shared.lock().free.len()
    }

    /// Makes a rotation, if it is possible: None if not.
    ///
    /// # Errors
    /// [`Error::Overloaded`]; [`Error::DatabaseUnavailable`]: it may or may not have happened (REQUIREMENTS R66).
    pub(super) async fn rotate(&self, advance: RotationUpdate) -> Outcome {
        let _span = Child::begin("refresh token rotation");
        let waiting = {
            let (told, waiting) = oneshot::channel();
            let mut queue = self.shared.lock();
            if queue.waiting.len() >= MOST {
                return Err(Error::Overloaded { retry_after: RETRY_AFTER });
            }
            let goes = !queue.under_way.contains(&advance.session_id);
            queue.waiting.push_back(Pending { advance, since: Instant::now(), told });
            drop(queue);
            if goes {
                self.shared.start();
            }
            waiting
        };
        match waiting.await.map_err(|_| Error::internal("a batch of rotations was given up"))? {
            BatchReply::Outcome(outcome) => outcome,
            // Waits for whoever holds the row.
            BatchReply::Alone(advance) => {
                let store = &self.shared.store;
                retrying(async || sessions::advance(&mut store.acquire_to_wait().await?, &advance).await).await
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
        RotationUpdate { session_id, step, now, idle_expires_at: now, client: None, only_of: None }
    }

    fn waiting(session_id: SessionId) -> (Pending, oneshot::Receiver<BatchReply>) {
        let (told, waiting) = oneshot::channel();
        (Pending { advance: advance(session_id), since: Instant::now(), told }, waiting)
    }

    fn batcher() -> RefreshBatcher {
        let url = "postgres://nobody@localhost/nothing".to_owned();
        let store = Store::new(&StoreSettings { url, connections: 1, deadline: Duration::MAX }).expect("settings");
        RefreshBatcher::new(store, Clock::manual())
    }

    #[test]
    fn a_session_that_is_under_way_waits_and_holds_up_no_other() {
        let [a, b] = [(); 2].map(|()| SessionId::new(OffsetDateTime::UNIX_EPOCH));
        let mut queue = Queue::default();
        let told: Vec<_> = [a, a, b]
            .map(|session| {
                let (waiting, told) = waiting(session);
                queue.waiting.push_back(waiting);
                told
            })
            .into();
        let ids = |batch: Vec<Pending>| batch.iter().map(|waiting| waiting.advance.session_id).collect::<Vec<_>>();
        assert_eq!(ids(queue.take(Duration::MAX)), [a, b], "past what waits");
        assert_eq!(ids(queue.take(Duration::MAX)), []);
        queue.under_way.remove(&a);
        assert_eq!(ids(queue.take(Duration::MAX)), [a]);
        assert!(told.into_iter().all(|mut told| told.try_recv().is_err()), "nobody was told an outcome");
    }

    #[tokio::test]
    async fn a_lane_whose_task_panics_is_replaced_and_holds_no_session() {
        let batcher = batcher();
        let [a, b] = [(); 2].map(|()| SessionId::new(OffsetDateTime::UNIX_EPOCH));
        let shared = &batcher.shared;
        let lane = shared.lock().free.pop().expect("a lane");
        let (first, _told) = waiting(a);
        shared.lock().waiting.push_back(first);
        let mut turn = LaneTask { shared: Arc::clone(shared), lane, sessions: vec![] };
        assert_eq!(turn.next().len(), 1);
        let (second, told) = waiting(b);
        shared.lock().waiting.push_back(second);
        drop(turn);
        // There is no database: the lane that stands in says so.
        assert!(matches!(told.await, Ok(BatchReply::Outcome(Err(_)))));
        while batcher.free_lanes() < LANES {
            tokio::task::yield_now().await;
        }
        assert!(shared.lock().under_way.is_empty());
    }
}
