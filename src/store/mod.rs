//! The database: the only code that knows sqlx. One file per table, plain functions on a connection.
//!
//! Every statement has a deadline, here and in the server (a replica that is lost must not hold a lock), and a connection
//! on which one was cut short, by the deadline or because nobody waits any more, is closed instead of going back to the
//! pool (REQUIREMENTS V8). Nothing here decides; `auth` does.
//!
//! Architecture invariant: no secret reaches this folder but sealed or hashed.

pub mod audit;
pub mod commits;
mod conn;
mod error;
pub mod identity;
pub mod keys;
mod lane;
mod listener;
pub mod login_throttle;
mod notice;
pub mod opening;
pub mod proofs;
pub mod refresh_tokens;
pub mod replicas;
mod retirement;
pub mod revocation_log;
pub mod revocations;
mod schema;
pub mod seed;
pub mod session_sweep;
pub mod users;

use std::{
    fmt,
    str::FromStr as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};
use time::OffsetDateTime;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

pub use self::{conn::Conn, lane::Lane, listener::Listener};
use self::{
    error::{out_of_time, unreachable},
    retirement::Retirement,
};
use crate::error::Error;

/// A pooled connection that was idle for longer, or since before another one failed, is tried before it is used, for so
/// long at most: a database that has restarted is an outage for one request at most, not for one of each connection.
const RESTED: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_millis(500);

/// How to reach the database.
#[derive(Clone)]
pub struct StoreSettings {
    /// A `postgres://` URL.
    pub url: String,
    /// The most connections that requests share.
    pub connections: u32,
    /// How long a request waits for a connection, and then for each statement.
    pub deadline: Duration,
}

/// The pool of connections.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    options: PgConnectOptions,
    deadline: Duration,
    failures: Failures,
    retirement: Retirement,
    /// Half of the connections.
    logins: Arc<Semaphore>,
    /// A quarter of them.
    waits: Arc<Semaphore>,
}

/// When a connection failed last.
#[derive(Clone, Debug, Default)]
struct Failures(Arc<Mutex<Option<Instant>>>);

impl Failures {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection that was used so long ago need not be tried first.
    fn is_fresh(&self, rested: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rested < RESTED && last.is_none_or(|last| last.elapsed() > rested)
    }
}

impl Store {
    /// Reads the settings; connects at the first use.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a URL that cannot be read.
    pub fn new(settings: &StoreSettings) -> Result<Self, Error> {
        // sqlx reads a URL of any scheme.
        let options = Some(settings.url.as_str())
            .filter(|url| url.starts_with("postgres://") || url.starts_with("postgresql://"))
            .and_then(|url| PgConnectOptions::from_str(url).ok())
            .ok_or_else(|| Error::invalid("database-url", "a postgres:// URL"))?
            .application_name("countersign")
            // Compiling a statement takes longer than any of ours.
            .options([("jit", "off")])
            .disable_statement_logging();
        let deadline = settings.deadline;
        let failures = Failures::default();
        let failed = failures.clone();
        let retirement = Retirement::none();
        let retired = retirement.clone();
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections)
            .acquire_timeout(deadline)
            .test_before_acquire(false)
            .before_acquire(move |connection, rested| {
                let (ours, good) = (retired.spares(rested.age), failed.is_fresh(rested.idle_for));
                Box::pin(async move {
                    Ok(ours && (good || timeout(PING, connection.ping()).await.is_ok_and(|pong| pong.is_ok())))
                })
            })
            .connect_lazy_with(with_server_deadlines(options.clone(), deadline));
        let share =
            |part: u32| Arc::new(Semaphore::new(usize::try_from(settings.connections / part).unwrap_or(1).max(1)));
        Ok(Self { pool, options, deadline, failures, retirement, logins: share(2), waits: share(4) })
    }

    /// A connection of the pool, for one request.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn acquire(&self) -> Result<Conn, Error> {
        loop {
            let generation = self.retirement.begin();
            let mut connection = self.pool.acquire().await.map_err(unreachable)?;
            if !generation.is_retired() {
                return Ok(Conn::pooled(connection, generation, self));
            }
            // It may have begun to connect before.
            connection.close_on_drop();
        }
    }

    /// From now on no connection is used that has begun to connect by now: of the pool, of the lanes, of the listener, or
    /// held by anybody. What is under way on one fails.
    pub fn retire_connections(&self) {
        self.retirement.retire();
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

    /// A connection apart from the pool, for the task that reads the log. By its index, whatever the planner thinks: it
    /// knows nothing of rows that are new, and would read all of a long log for each of them.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn connect(&self) -> Result<Conn, Error> {
        self.connect_with(&[("enable_seqscan", "off"), ("enable_bitmapscan", "off")]).await
    }

    /// How long a request waits for a connection, and then for each statement.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What the database's clock says.
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

    async fn connect_with(&self, settings: &[(&str, &str)]) -> Result<Conn, Error> {
        let options = with_server_deadlines(self.options.clone(), self.deadline).options(settings.iter().copied());
        let generation = self.retirement.begin();
        let connection = timeout(self.deadline, options.connect()).await.map_err(out_of_time)?;
        Ok(Conn::own(connection.map_err(unreachable)?, generation, self))
    }
}

/// The server cuts short what we have given up on: the backend of a lost replica would hold its locks until TCP notices.
fn with_server_deadlines(options: PgConnectOptions, deadline: Duration) -> PgConnectOptions {
    let millis = deadline.as_millis().to_string();
    options.options([("statement_timeout", millis.as_str()), ("idle_in_transaction_session_timeout", millis.as_str())])
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
