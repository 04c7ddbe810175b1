//! The follower: the task that keeps this replica's revocations fresh. At least once a second it beats: one statement
//! reports how far the replica has read, reads what is new, and commits. In between, when a hint says that there is something
//! new, it reads that and reports it by statements that commit nothing which has to last, and so wait for no disk.
//!
//! When the log says that the keys have changed they are read again, before the new state counts as known.
//!
//! Any gap (a new connection, a row that is not the one that was known, numbers that do not follow on) means a full load
//! (`full_load.rs`).

use std::{
    fmt,
    future::pending,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until, timeout},
};
use uuid::Uuid;

use super::{
    Revocations,
    confirm::Confirmations,
    index::Origin,
    protocol::{Follow, Next, Outcome, Reply},
};
use crate::{
    clock::Clock,
    config::Hints,
    domain::revocation::{LogEntry, Position, Subject},
    error::Error,
    store::{
        Conn, Store, identity,
        keys::{self, StoredKey},
        replicas::{self, Heard, Member},
        revocations,
    },
};

/// The longest pause between two beats, with hints and without.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_WITHOUT_HINTS: Duration = Duration::from_millis(100);
/// The shortest, however often one is asked for.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// The pause after the first failure and the longest one, so that a database that comes back is noticed soon and not
/// flooded.
const BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// How long the hints' connection may be silent before it is made anew.
const SILENCE: Duration = Duration::from_secs(60);
/// The time between two collections of the index.
const COLLECT_EVERY: Duration = Duration::from_secs(60);

/// Takes over the keys as they are stored now. Opening them is not the business of this module.
pub type InstallKeys = Box<dyn Fn(Vec<StoredKey>) + Send + Sync>;

/// Keeps [`Revocations`] fresh.
pub struct Follower {
    /// This replica on the list.
    pub replica: Uuid,
    /// The database.
    pub store: Store,
    /// What it keeps fresh.
    pub revocations: Arc<Revocations>,
    /// What is to know which log is followed.
    pub confirmations: Arc<Confirmations>,
    /// The time.
    pub clock: Clock,
    /// Asks for a beat before it is due.
    pub wake: Arc<Notify>,
    /// Whether hints are listened for.
    pub hints: Hints,
    /// There may be something new.
    pub hinted: Notify,
    /// Called when the keys have changed.
    pub install_keys: InstallKeys,
}

/// What the follower is at: the protocol's state, and the connection that it speaks of.
pub(super) struct Following {
    pub(super) protocol: Follow,
    conn: Option<Conn>,
    /// Whether the last attempt succeeded.
    healthy: bool,
}

/// What comes after a pause.
#[derive(Clone, Copy, Debug)]
enum Step {
    Beat,
    Read,
    Stop,
}

impl Following {
    fn disconnect(&mut self) {
        self.protocol.disconnected();
        self.conn = None;
    }

    pub(super) fn conn(&mut self) -> Result<&mut Conn, Error> {
        self.conn.as_mut().ok_or_else(|| Error::internal("the follower has no connection"))
    }
}

impl Follower {
    /// Follows until `stop` resolves, and then takes the replica off the list. An outage is logged once when it begins
    /// and once when it ends.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = self.follow_until(stop) => {}
            () = self.listen() => {}
        }
    }

    async fn follow_until(&self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let protocol = Follow::new(self.revocations.max_staleness);
        let mut following = Following { protocol, conn: None, healthy: true };
        let mut back_off = BACK_OFF;
        loop {
            let Err(error) = self.follow(stop.as_mut(), &mut following).await else {
                return;
            };
            following.disconnect();
            if std::mem::replace(&mut following.healthy, false) {
                tracing::error!(%error, "the revocation log cannot be followed; verifying goes on until the bound");
                back_off = BACK_OFF;
            }
            tokio::select! {
                () = stop.as_mut() => return self.revocations.end(),
                () = sleep(self.jittered(back_off)) => {}
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    /// Turns hints into wake-ups until it is dropped. Without hints the follower polls.
    async fn listen(&self) {
        if !self.hints.are_on() {
            return pending().await;
        }
        loop {
            if let Ok(mut listener) = self.store.listen().await {
                self.hinted.notify_one();
                // A connection that has been silent for long may be dead without knowing it: the next one at once.
                while let Ok(heard) = timeout(SILENCE, listener.hint()).await {
                    self.hinted.notify_one();
                    if heard.is_err() {
                        sleep(self.jittered(PAUSE)).await;
                        break;
                    }
                }
            } else {
                sleep(self.jittered(PAUSE)).await;
            }
        }
    }

    /// Ends without an error when `stop` has resolved.
    async fn follow(&self, mut stop: Pin<&mut impl Future<Output = ()>>, at: &mut Following) -> Result<(), Error> {
        let mut collected_at = Instant::now();
        let mut step = Step::Beat;
        loop {
            // From when it is sent: what a slow answer says is old already.
            let began = Instant::now();
            let mut due = began + self.pause();
            let whole = match step {
                Step::Beat => {
                    if collected_at.elapsed() > COLLECT_EVERY {
                        self.revocations.collect();
                        collected_at = began;
                    }
                    self.beat(at).await?
                }
                Step::Read => self.read(at).await?,
                Step::Stop => {
                    // Nobody waits for this replica from now on; if that cannot be said, the others wait for the bound.
                    self.revocations.end();
                    if let Some(conn) = &mut at.conn {
                        drop(replicas::leave(conn, self.replica).await);
                    }
                    return Ok(());
                }
            };
            if !whole {
                due = Instant::now();
            }
            if !std::mem::replace(&mut at.healthy, true) {
                tracing::info!("the revocation log is followed again");
            }
            step = tokio::select! {
                biased;
                () = stop.as_mut() => Step::Stop,
                () = sleep_until(due) => Step::Beat,
                () = self.asked_for_a_beat(began) => Step::Beat,
                () = self.something_to_do(&at.protocol) => Step::Read,
            };
        }
    }

    async fn asked_for_a_beat(&self, last: Instant) {
        sleep_until(last + LEAST_PAUSE).await;
        self.wake.notified().await;
    }

    /// What is new is reported at once, because somebody may wait for it.
    async fn something_to_do(&self, protocol: &Follow) {
        if !protocol.has_news() {
            self.hinted.notified().await;
        }
    }

    /// Does what comes before a heartbeat, and then sends one. Says whether it made fresh.
    async fn beat(&self, at: &mut Following) -> Result<bool, Error> {
        if self.revocations.take_distrust() {
            at.protocol.distrust();
        }
        loop {
            match at.protocol.next(self.clock.moment()) {
                Next::Connect => self.connect(at).await?,
                Next::Register => self.register(at).await?,
                Next::Load => self.load(at).await?,
                Next::Heartbeat => return self.heartbeat(at).await,
            }
        }
    }

    async fn connect(&self, at: &mut Following) -> Result<(), Error> {
        let began_at = self.clock.moment();
        at.conn = Some(self.store.connect().await?);
        at.protocol.connected(began_at);
        Ok(())
    }

    async fn register(&self, at: &mut Following) -> Result<(), Error> {
        let (sent_at, report) = (self.clock.moment(), at.protocol.report());
        let origin = replicas::register(at.conn()?, self.member(), report).await?;
        at.protocol.registered(sent_at, origin.log());
        self.heard_of(origin, at);
        Ok(())
    }

    async fn heartbeat(&self, at: &mut Following) -> Result<bool, Error> {
        let (sent_at, report) = (self.clock.moment(), at.protocol.report());
        let applied = at.protocol.position();
        let heard = replicas::beat(at.conn()?, self.member(), report).await?;
        let answered_at = self.clock.moment();
        self.revocations.note_clock(self.clock.distance_from(heard.clock, sent_at, answered_at));
        let (origin, rows) = (heard.origin, positions(&heard));
        let keys = self.new_keys(at, &heard).await?;
        // From here on nothing waits: what the protocol calls applied is applied.
        let reply = Reply { log: origin.log(), head: heard.head, rows: &rows };
        let outcome = at.protocol.heartbeat_answered(sent_at, self.clock.moment(), reply);
        self.take_over(at, outcome, (applied, heard), keys);
        if self.heard_of(origin, at) {
            return Ok(false);
        }
        if let Outcome::Fresh(as_of) = outcome {
            self.revocations.publish(as_of);
        }
        self.settle(at, origin).await?;
        Ok(matches!(outcome, Outcome::Fresh(_)))
    }

    /// Makes nothing fresh. Says whether what was read followed on what was known.
    async fn read(&self, at: &mut Following) -> Result<bool, Error> {
        let applied = at.protocol.position();
        let heard = replicas::read(at.conn()?, self.replica, applied).await?;
        let rows = positions(&heard);
        let keys = self.new_keys(at, &heard).await?;
        let reply = Reply { log: heard.origin.log(), head: heard.head, rows: &rows };
        let outcome = at.protocol.read_answered(reply);
        self.take_over(at, outcome, (applied, heard), keys);
        Ok(outcome != Outcome::Gap)
    }

    /// The keys, if what was heard says that they have changed. Read before anything of it is applied, from the log that said
    /// so.
    async fn new_keys(&self, at: &mut Following, heard: &Heard) -> Result<Option<Vec<StoredKey>>, Error> {
        let applied = at.protocol.position().seq;
        let is_news = |entry: &&LogEntry| entry.seq > applied && entry.revocation.subject == Subject::Keys;
        let Some(changed) = heard.entries.iter().rev().find(is_news) else {
            return Ok(None);
        };
        let stored = keys::all_since(at.conn()?, changed.position()).await?;
        let stored = stored.ok_or_else(|| Error::DatabaseUnavailable("the keys are of another log".into()))?;
        Ok(Some(stored.keys))
    }

    /// Applies what was heard, unless it does not follow on what was `applied`.
    fn take_over(
        &self,
        at: &Following,
        outcome: Outcome,
        (applied, heard): (Position, Heard),
        keys: Option<Vec<StoredKey>>,
    ) {
        if outcome == Outcome::Gap {
            tracing::warn!(applied = applied.seq, head = heard.head, "gap in the revocation log: loading it in full");
            return;
        }
        if let Some(keys) = keys {
            (self.install_keys)(keys);
        }
        self.revocations.apply(heard.entries.iter().map(|entry| &entry.revocation), Origin::Log);
        let new = heard.entries.into_iter().filter(|entry| entry.seq > applied.seq);
        self.revocations.extend_feed(new, at.protocol.position());
    }

    /// When it is another log than before, all connections that were made so far are used no more, because they may lead to
    /// the one before; this one too. Says whether it is.
    fn heard_of(&self, origin: replicas::Origin, at: &mut Following) -> bool {
        let moved = self.confirmations.heard(origin.log(), origin.settled);
        if moved {
            tracing::warn!("the database is another one than before: a standby was promoted, or a backup was restored");
            self.store.retire_connections();
            at.disconnect();
        }
        moved
    }

    /// Notes in the database that confirmations count on this log, so that replicas that start later need not find out again.
    async fn settle(&self, at: &mut Following, origin: replicas::Origin) -> Result<(), Error> {
        if self.confirmations.settle().is_some() {
            tracing::info!("revocations are confirmed again");
        }
        if !origin.settled && self.confirmations.is_settled(origin.log()) {
            identity::settle(at.conn()?, origin.log()).await?;
        }
        Ok(())
    }

    /// Wakes the followers of all replicas.
    pub(super) async fn announce(&self, conn: &mut Conn) -> Result<(), Error> {
        if self.hints.are_on() { revocations::notify(conn).await } else { Ok(()) }
    }

    fn member(&self) -> Member {
        Member { replica: self.replica, max_staleness: self.revocations.max_staleness }
    }

    fn pause(&self) -> Duration {
        match self.hints {
            Hints::On => PAUSE,
            Hints::Off => PAUSE_WITHOUT_HINTS,
        }
    }

    /// Half of it to all of it, each replica its own part, so that they do not come back in step.
    fn jittered(&self, pause: Duration) -> Duration {
        let [.., last] = self.replica.into_bytes();
        pause / 2 + pause / 2 * u32::from(last) / 255
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("replica", &self.replica).finish_non_exhaustive()
    }
}

fn positions(heard: &Heard) -> Vec<Position> {
    heard.entries.iter().map(LogEntry::position).collect()
}
