//! The choice of a host for the connections: the last good one, until something fails. Then the hosts are asked, one
//! after the other and the last good one first. If the first that is wanted is another one, all connections are
//! retired.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgPool},
};
use tokio::{sync::Mutex, time::timeout};

use super::{
    address::Address,
    error::{out_of_time, unreachable},
    health::Health,
    setup::Setup,
    unreached::place_of,
};
use crate::{error::Error, trace::Database};

/// The hosts, and which is in use.
pub(super) struct Hosts {
    list: Vec<PgConnectOptions>,
    are_surely_hosts: bool,
    probe: Setup,
    current: AtomicUsize,
    /// The doubts that there had been when it was chosen.
    settled: AtomicU64,
    /// True if no host was found the last time, which the log says once.
    lost: AtomicBool,
    /// Held while one is chosen.
    choosing: Mutex<()>,
}

impl Hosts {
    pub(super) fn new(address: Address, probe: Setup) -> Self {
        Self {
            list: address.hosts,
            are_surely_hosts: address.are_surely_hosts,
            probe,
            current: AtomicUsize::new(0),
            settled: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            choosing: Mutex::new(()),
        }
    }

    /// Options that reach the host in use.
    ///
    /// # Errors
    /// [`Error::Internal`] when there is none.
    pub(super) fn current(&self) -> Result<&PgConnectOptions, Error> {
        self.list.get(self.current.load(Ordering::Acquire)).ok_or_else(|| Error::internal("no host"))
    }

    /// The host in use, in words for people.
    pub(super) fn place(&self) -> String {
        self.current().map_or_else(|_| "the database".to_owned(), |host| place_of(host, self.are_surely_hosts))
    }

    /// The database in use, for traces.
    pub(super) fn database(&self) -> Option<Database> {
        let options = self.current().ok()?;
        Some(Database {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            name: options.get_database().unwrap_or(options.get_username()).to_owned(),
        })
    }

    fn is_settled(&self, doubts: u64) -> bool {
        self.settled.load(Ordering::Acquire) >= doubts
    }

    /// The first that is wanted. Each is given so much time that all of them leave some of the deadline.
    async fn find(&self, deadline: Duration) -> Result<usize, Error> {
        let limit = deadline / u32::try_from(self.list.len() + 1).unwrap_or(u32::MAX);
        let last = self.current.load(Ordering::Acquire);
        let mut result = Err(Error::internal("no host"));
        for (at, host) in self.list.iter().enumerate().cycle().skip(last).take(self.list.len()) {
            result = match timeout(limit, self.try_host(host)).await {
                Ok(Ok(())) => return Ok(at),
                Ok(Err(error)) => Err(unreachable(error)),
                Err(elapsed) => Err(out_of_time(elapsed)),
            };
        }
        result
    }

    async fn try_host(&self, host: &PgConnectOptions) -> Result<(), sqlx::Error> {
        let mut connection = host.connect().await?;
        self.probe.apply(&mut connection).await?;
        connection.close().await
    }

    /// Chooses the host anew if anything has failed since it was chosen. If none is found, all stays as it was: what fails
    /// then says why.
    pub(super) async fn settle(&self, pool: &PgPool, health: &Health, deadline: Duration) {
        if self.list.len() == 1 || self.is_settled(health.doubts()) {
            return;
        }
        let _turn = self.choosing.lock().await;
        // Somebody else may have, meanwhile; and what is doubted while hosts are asked is doubted still.
        let doubts = health.doubts();
        if self.is_settled(doubts) {
            return;
        }
        match self.find(deadline).await {
            Ok(at) => {
                self.move_to(at, pool, health);
                self.settled.store(doubts, Ordering::Release);
                self.lost.store(false, Ordering::Release);
            }
            Err(error) if !self.lost.swap(true, Ordering::AcqRel) => {
                tracing::warn!(%error, "none of the database's hosts is of the wanted kind");
            }
            Err(_) => {}
        }
    }

    fn move_to(&self, at: usize, pool: &PgPool, health: &Health) {
        let last = self.current.swap(at, Ordering::AcqRel);
        let Some(host) = self.list.get(at).filter(|_| at != last) else {
            return;
        };
        tracing::info!(host = host.get_host(), port = host.get_port(), "goes on with this host of the database");
        pool.set_connect_options(host.clone());
        health.retire();
    }
}

/// The options hold passwords.
impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hosts(..)")
    }
}
