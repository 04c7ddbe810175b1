//! The pool of connections, with shares of it for what must not take all, and connections apart from it.

use std::{fmt, sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection,
    postgres::{PgPool, PgPoolOptions},
};
use time::OffsetDateTime;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    address::{Address, Wanted},
    conn::{Conn, PING, Terms},
    error::{out_of_time, unreachable},
    health::{Health, Judgement},
    hosts::Hosts,
    notice,
    retirement::Generation,
    setup::Setup,
    unreached::Unreached,
};
use crate::{error::Error, metrics::Database};

/// The settings by which the database is reached.
#[derive(Clone)]
pub struct StoreSettings {
    /// A `postgres://` URL, of one host or several.
    pub url: String,
    /// The most connections that requests share.
    pub connections: u32,
    /// Longest time that a request waits for a connection, and then for each statement.
    pub deadline: Duration,
}

/// The number of connections of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Connections that requests use.
    pub used: u32,
    /// Connections that nobody uses.
    pub idle: u32,
    /// The most that there may be.
    pub most: u32,
}

/// The pool of connections.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    pub(super) hosts: Arc<Hosts>,
    pub(super) wanted: Wanted,
    pub(super) deadline: Duration,
    pub(super) health: Arc<Health>,
    /// Places for logins: half of the connections.
    logins: Arc<Semaphore>,
    /// Places for requests that wait: a quarter of the connections.
    waits: Arc<Semaphore>,
}

impl Store {
    /// Reads the settings; connects at the first use.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a URL that cannot be read.
    pub fn new(settings: &StoreSettings) -> Result<Self, Error> {
        notice::prepare();
        let address = Address::parse(&settings.url)?;
        let (wanted, deadline) = (address.wanted, settings.deadline);
        let hosts = Hosts::new(address, Setup::new(wanted, deadline, &[]));
        let health = Arc::new(Health::new());
        let pool =
            pool(settings, Setup::new(wanted, deadline, &[]), &health).connect_lazy_with(hosts.current()?.clone());
        let share =
            |part: u32| Arc::new(Semaphore::new(usize::try_from(settings.connections / part).unwrap_or(1).max(1)));
        Ok(Self { pool, hosts: Arc::new(hosts), wanted, deadline, health, logins: share(2), waits: share(4) })
    }

    /// A connection of the pool, for one request.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn acquire(&self) -> Result<Conn, Error> {
        let timed = self.health.time_wait();
        let acquired = timeout(self.deadline, self.acquire_good()).await.map_err(out_of_time).and_then(|it| it);
        timed.acquired(acquired.is_ok());
        acquired
    }

    /// Records from now on what the connections do.
    pub fn measure(&self, metrics: Database) {
        self.health.measure(metrics);
    }

    /// The connections of the pool: all, those that nobody uses, and the most that there may be.
    pub fn occupancy(&self) -> Occupancy {
        let idle = u32::try_from(self.pool.num_idle()).unwrap_or(u32::MAX);
        let most = self.pool.options().get_max_connections();
        Occupancy { used: self.pool.size().saturating_sub(idle), idle, most }
    }

    /// Settles on a host: see [`Hosts::settle`].
    pub(super) async fn settle(&self) {
        self.hosts.settle(&self.pool, &self.health, self.deadline).await;
    }

    fn terms(&self) -> Terms {
        Terms { deadline: self.deadline, health: Arc::clone(&self.health), hosts: Arc::clone(&self.hosts) }
    }

    async fn acquire_good(&self) -> Result<Conn, Error> {
        loop {
            self.settle().await;
            let generation = self.health.begin();
            let mut connection = self.pool.acquire().await.inspect_err(|_| self.health.doubt()).map_err(unreachable)?;
            if !generation.is_retired() {
                return Ok(Conn::pooled(connection, generation, self.terms()));
            }
            // It may have begun to connect before.
            connection.close_on_drop();
        }
    }

    /// Retires every connection that has begun to connect by now: of the pool, of the lanes, of the listener, or held
    /// by anybody. What is under way on one fails.
    pub fn retire_connections(&self) {
        self.health.retire();
    }

    /// A connection of the pool for a Login. All of them together have half: a flood must not keep Refresh and Revoke from
    /// theirs.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::DatabaseUnavailable`].
    pub async fn acquire_for_login(&self) -> Result<Conn, Error> {
        self.acquire_of(&self.logins).await
    }

    /// A connection of the pool for what may wait for a row that somebody holds. All of them together have a quarter.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::DatabaseUnavailable`].
    pub async fn acquire_to_wait(&self) -> Result<Conn, Error> {
        self.acquire_of(&self.waits).await
    }

    async fn acquire_of(&self, shares: &Arc<Semaphore>) -> Result<Conn, Error> {
        let share = timeout(self.deadline, Arc::clone(shares).acquire_owned()).await;
        let share = share.map_err(|_| Error::Overloaded { retry_after: self.deadline })?;
        let mut conn = self.acquire().await?;
        conn.hold(share.map_err(Error::internal)?);
        Ok(conn)
    }

    /// A connection apart from the pool, for the task that reads the log. The log is read by its index, whatever the
    /// planner thinks. The planner knows nothing of rows that are new, and would read all of a long log for each of them.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn connect(&self) -> Result<Conn, Error> {
        self.connect_with(&[("enable_seqscan", "off"), ("enable_bitmapscan", "off")]).await
    }

    /// Longest time that a request waits for a connection, and then for each statement.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The time by the database's clock.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn clock(&self) -> Result<OffsetDateTime, Error> {
        let asked = sqlx::query_as::<_, (OffsetDateTime,)>("SELECT clock_timestamp()");
        let answer = self.acquire().await?.fetch_optional(asked).await?;
        answer.map(|(at,)| at).ok_or_else(|| Error::internal("the database has no clock"))
    }

    /// Closes the pool; what does not close in time is dropped with the process.
    pub async fn close(&self) {
        drop(timeout(self.deadline, self.pool.close()).await);
    }

    pub(super) async fn connect_with(&self, settings: &[(&str, &str)]) -> Result<Conn, Error> {
        let (connection, generation) = self.connect_by(&Setup::new(self.wanted, self.deadline, settings)).await?;
        Ok(Conn::own(connection, generation, self.terms()))
    }

    pub(super) async fn connect_by(&self, setup: &Setup) -> Result<(PgConnection, Generation), Error> {
        let connect = async {
            self.settle().await;
            let generation = self.health.begin();
            let unreached = |error| Unreached::by(&self.hosts.place(), &error);
            let mut connection = self.hosts.current()?.connect().await.map_err(unreached)?;
            setup.apply(&mut connection).await.map_err(unreached)?;
            Ok((connection, generation))
        };
        let silent = |_| Unreached::silent(&self.hosts.place()).into();
        let connected = timeout(self.deadline, connect).await.map_err(silent);
        connected.and_then(|connected| connected).inspect_err(|_| self.health.doubt())
    }
}

/// The options of the pool for its connections.
fn pool(settings: &StoreSettings, setup: Setup, health: &Arc<Health>) -> PgPoolOptions {
    let (idle, new) = (Arc::clone(health), Arc::clone(health));
    PgPoolOptions::new()
        .max_connections(settings.connections)
        .acquire_timeout(settings.deadline)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let (setup, health) = (setup.clone(), Arc::clone(&new));
            Box::pin(async move { setup.apply(connection).await.inspect_err(|_| health.doubt()) })
        })
        .before_acquire(move |connection, rested| {
            let judgement = idle.judge(rested.age, rested.idle_for);
            Box::pin(async move {
                Ok(match judgement {
                    Judgement::Fresh => true,
                    Judgement::Rested => timeout(PING, connection.ping()).await.is_ok_and(|pong| pong.is_ok()),
                    Judgement::Retired => false,
                })
            })
        })
}

/// The options hold a password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store(..)")
    }
}

/// The URL holds a password.
impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreSettings(..)")
    }
}
