//! The follower: the task that keeps this replica's revocations fresh. At least once a second it heartbeats: one
//! statement reports how far the replica has read, reads what is new, and commits. In between, when a notification says
//! that there is something new, it reads that and reports it. The statements commit nothing which has to last, and so
//! wait for no disk.
//!
//! When the log says that the keys have changed they are read again, before the new state counts as known.
//!
//! Any gap means a full load (`full_load.rs`): a new connection, a row other than the known one, numbers that do not
//! follow on.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use countersign_token::clock::Clock;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use super::{
    Revocations,
    announcements::Announcements,
    confirm::Confirmations,
    log::RevocationLog,
    protocol::{Follow, Next},
};
use crate::{
    domain::policy::{Notifications, RevocationPolicy},
    error::Error,
    metrics,
    store::{Conn, Store, keys::StoredKey, replicas},
};

/// The longest pause between two heartbeats, with notifications and without.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_WITHOUT_NOTIFICATIONS: Duration = Duration::from_millis(100);
/// The shortest, however often one is asked for.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// The pause after the first failure and the longest one, so that a database that comes back is noticed soon and not
/// flooded.
const BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);
/// The time between two collections of the index.
const COLLECT_EVERY: Duration = Duration::from_secs(60);

/// Takes over the keys as they are stored now. Opening them is not the business of this module.
pub type InstallKeys = Box<dyn Fn(Vec<StoredKey>) + Send + Sync>;

/// Keeps [`Revocations`] fresh.
pub struct Follower {
    pub(super) replica: Uuid,
    pub(super) store: Store,
    pub(super) revocations: Arc<Revocations>,
    /// The confirmations, which have to know which log is followed.
    pub(super) confirmations: Arc<Confirmations>,
    pub(super) clock: Clock,
    /// Asks for a heartbeat before it is due.
    wake: Arc<Notify>,
    /// Choices of the deployment: whether notifications are listened for, and what is done after a restore.
    pub(super) policy: RevocationPolicy,
    /// The announcements, which wake the follower when there is something new.
    pub(super) announcements: Arc<Announcements>,
    pub(super) install_keys: InstallKeys,
    pub(super) metrics: metrics::Revocations,
}

/// The state of the follower: that of the protocol, and the connection that it speaks of.
pub(super) struct Following {
    pub(super) protocol: Follow,
    pub(super) conn: Option<Conn>,
    /// True if the last attempt succeeded.
    healthy: bool,
}

/// Steps of the follower after a pause.
#[derive(Clone, Copy, Debug)]
enum Step {
    Heartbeat,
    Read,
    Stop,
}

impl Following {
    pub(super) fn disconnect(&mut self) {
        self.protocol.disconnected();
        self.conn = None;
    }

    pub(super) fn conn(&mut self) -> Result<&mut Conn, Error> {
        self.conn.as_mut().ok_or_else(|| Error::internal("the follower has no connection"))
    }
}

impl Follower {
    /// Follows this log. `install_keys` is called when the keys have changed.
    pub fn new(log: &RevocationLog, install_keys: InstallKeys) -> Self {
        Self {
            replica: log.replica,
            store: log.store.clone(),
            revocations: Arc::clone(&log.revocations),
            confirmations: Arc::clone(&log.confirmations),
            clock: log.clock.clone(),
            wake: Arc::clone(&log.wake),
            policy: log.policy,
            announcements: Arc::clone(&log.announcements),
            install_keys,
            metrics: log.metrics.clone(),
        }
    }

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
        let protocol = Follow::new(self.revocations.state().max_staleness());
        let mut following = Following { protocol, conn: None, healthy: true };
        let mut back_off = BACK_OFF;
        loop {
            let Err(error) = self.follow(stop.as_mut(), &mut following).await else {
                return;
            };
            following.disconnect();
            self.metrics.failures.inc();
            if std::mem::replace(&mut following.healthy, false) {
                tracing::error!(%error, "the revocation log cannot be followed; verifying goes on until the bound");
                back_off = BACK_OFF;
            }
            tokio::select! {
                () = stop.as_mut() => return self.revocations.withdraw(),
                () = sleep(self.jittered(back_off)) => {}
            }
            back_off = (back_off * 2).min(LONGEST_BACK_OFF);
        }
    }

    /// Ends without an error when `stop` has resolved.
    async fn follow(&self, mut stop: Pin<&mut impl Future<Output = ()>>, at: &mut Following) -> Result<(), Error> {
        let mut collected_at = Instant::now();
        let (mut step, mut heartbeat_at, mut due) = (Step::Heartbeat, collected_at, collected_at);
        loop {
            let whole = match step {
                Step::Heartbeat => {
                    // From when it is sent, because what a slow answer says is old already; and from a heartbeat alone, so that
                    // notifications, however many, put none off.
                    heartbeat_at = Instant::now();
                    due = heartbeat_at + self.pause();
                    if collected_at.elapsed() > COLLECT_EVERY {
                        self.revocations.state().evict_expired();
                        collected_at = heartbeat_at;
                    }
                    self.keep_fresh(at).await?
                }
                Step::Read => self.read(at).await?,
                Step::Stop => {
                    // Nobody waits for this replica from now on; if that cannot be said, the others wait for the bound.
                    self.revocations.withdraw();
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
                () = sleep_until(due) => Step::Heartbeat,
                () = self.heartbeat_requested(heartbeat_at) => Step::Heartbeat,
                () = self.something_to_do(&at.protocol), if at.conn.is_some() => Step::Read,
            };
        }
    }

    async fn heartbeat_requested(&self, last: Instant) {
        sleep_until(last + LEAST_PAUSE).await;
        self.wake.notified().await;
    }

    /// Waits until there is something new to report. It is reported at once if there are others, because one of them
    /// may wait for it.
    async fn something_to_do(&self, protocol: &Follow) {
        if !(protocol.has_news() && self.confirmations.has_others()) {
            self.announcements.something_new().await;
        }
    }

    /// Does what comes before a heartbeat, and then sends one. Says whether it made fresh.
    async fn keep_fresh(&self, at: &mut Following) -> Result<bool, Error> {
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

    fn pause(&self) -> Duration {
        match self.policy.notifications {
            Notifications::On => PAUSE,
            Notifications::Off => PAUSE_WITHOUT_NOTIFICATIONS,
        }
    }

    /// Half of it to all of it, each replica its own part, so that they do not come back in step.
    pub(super) fn jittered(&self, pause: Duration) -> Duration {
        let [.., last] = self.replica.into_bytes();
        pause / 2 + pause / 2 * u32::from(last) / 255
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("replica", &self.replica).finish_non_exhaustive()
    }
}
