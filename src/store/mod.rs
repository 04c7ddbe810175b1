//! The database: the only code that knows sqlx. One file per table, plain functions on a connection.
//!
//! Every statement has a deadline, here and in the server (a replica that is lost must not hold a lock), and a connection
//! on which one was cut short, by the deadline or because nobody waits any more, is closed instead of going back to the
//! pool (REQUIREMENTS V8). Nothing here decides; `auth` does.
//!
//! Architecture invariant: no secret reaches this folder but sealed or hashed.

pub mod keys;
pub mod refresh_tokens;
pub mod replicas;
pub mod revocations;
pub mod users;

use std::{fmt, future::Future, str::FromStr as _, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection, Postgres,
    migrate::{Migrate as _, MigrateError, Migrator},
    pool::PoolConnection,
    postgres::{PgArguments, PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgRow},
    query::{Query, QueryAs},
};
use tokio::{
    runtime::Handle,
    time::{error::Elapsed, timeout},
};

use crate::error::Error;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// A pooled connection that was idle for longer is tried before it is used, for so long at most.
const RESTED: Duration = Duration::from_secs(1);
const PING: Duration = Duration::from_millis(500);
const UNDEFINED_TABLE: &str = "42P01";

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
}

/// A connection, from the pool or of its own.
#[derive(Debug)]
pub struct Conn {
    link: Link,
    deadline: Duration,
    state: State,
}

#[derive(Debug)]
enum Link {
    /// Some until it is given back.
    Pooled(Option<PoolConnection<Postgres>>),
    Own(Box<PgConnection>),
}

/// What would be lost if the connection went back to the pool now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    InTransaction,
    /// A statement is under way or was cut short.
    Unknown,
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
            .disable_statement_logging();
        let deadline = settings.deadline;
        let pool = PgPoolOptions::new()
            .max_connections(settings.connections)
            .acquire_timeout(deadline)
            .test_before_acquire(false)
            // Only what has rested is tried first: a connection of a database that has restarted since is no outage.
            .before_acquire(|connection, rested| {
                Box::pin(async move {
                    Ok(rested.idle_for < RESTED || timeout(PING, connection.ping()).await.is_ok_and(|p| p.is_ok()))
                })
            })
            .connect_lazy_with(with_server_deadlines(options.clone(), deadline));
        Ok(Self { pool, options, deadline })
    }

    /// A connection of the pool, for one request.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn acquire(&self) -> Result<Conn, Error> {
        let link = Link::Pooled(Some(self.pool.acquire().await.map_err(unreachable)?));
        Ok(Conn { link, deadline: self.deadline, state: State::Idle })
    }

    /// A connection apart from the pool, for one task.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn connect(&self) -> Result<Conn, Error> {
        let options = with_server_deadlines(self.options.clone(), self.deadline);
        let connection = timeout(self.deadline, options.connect()).await.map_err(out_of_time)?;
        let link = Link::Own(Box::new(connection.map_err(unreachable)?));
        Ok(Conn { link, deadline: self.deadline, state: State::Idle })
    }

    /// A connection that hears the hint of each revocation (`revocations::announce`).
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn listen(&self) -> Result<Listener, Error> {
        let connect = async {
            // A pool of its own, because a listener keeps its connection.
            let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(revocations::CHANNEL).await?;
            Ok(listener)
        };
        let listener = timeout(self.deadline, connect).await.map_err(out_of_time)?;
        listener.map(Listener).map_err(unreachable)
    }

    /// Applies the migrations that are missing. They may take as long as they need.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a schema that is not ours.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut connection = self.connect_bare().await?;
        MIGRATIONS.run(&mut connection).await.map_err(migration_failed)
    }

    /// How many migrations the database lacks.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn missing_migrations(&self) -> Result<usize, Error> {
        let mut connection = self.connect_bare().await?;
        let listing = connection.list_applied_migrations("_sqlx_migrations");
        let applied = match timeout(self.deadline, listing).await.map_err(out_of_time)? {
            Err(MigrateError::Execute(error)) if code(&error).is_some_and(|code| code == UNDEFINED_TABLE) => vec![],
            listed => listed.map_err(migration_failed)?,
        };
        let missing = |version: i64| !applied.iter().any(|done| done.version == version);
        Ok(MIGRATIONS.iter().filter(|m| missing(m.version)).count())
    }

    /// Closes the pool; what does not close in time is dropped with the process.
    pub async fn close(&self) {
        drop(timeout(self.deadline, self.pool.close()).await);
    }

    /// A connection without the server's deadlines, for migrations.
    async fn connect_bare(&self) -> Result<PgConnection, Error> {
        let connection = timeout(self.deadline, self.options.connect()).await.map_err(out_of_time)?;
        connection.map_err(unreachable)
    }
}

/// The server cuts short what we have given up on: the backend of a lost replica would hold its locks until TCP notices.
fn with_server_deadlines(options: PgConnectOptions, deadline: Duration) -> PgConnectOptions {
    let millis = deadline.as_millis().to_string();
    options.options([("statement_timeout", millis.as_str()), ("idle_in_transaction_session_timeout", millis.as_str())])
}

/// Hears the hint of each revocation.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// Waits for the next hint.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`] when the connection was lost; hints may have been missed.
    pub async fn hint(&mut self) -> Result<(), Error> {
        match self.0.try_recv().await.map_err(unreachable)? {
            Some(_) => Ok(()),
            None => Err(Error::DatabaseUnavailable("listener lost".into())),
        }
    }
}

impl Conn {
    /// Starts a transaction (READ COMMITTED). Dropping the connection before [`Conn::commit`] rolls it back.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn begin(&mut self) -> Result<(), Error> {
        self.control("BEGIN").await?;
        self.state = State::InTransaction;
        Ok(())
    }

    /// Commits.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: the commit may or may not have happened (REQUIREMENTS R66).
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.control("COMMIT").await?;
        self.state = State::Idle;
        Ok(())
    }

    /// One round trip, with nothing to prepare.
    async fn control(&mut self, statement: &'static str) -> Result<(), Error> {
        let deadline = self.deadline;
        self.guarded(async |c| within(deadline, sqlx::raw_sql(statement).execute(c)).await).await.map(drop)
    }

    async fn execute(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<u64, Error> {
        let deadline = self.deadline;
        self.guarded(async |c| within(deadline, query.execute(c)).await).await.map(|r| r.rows_affected())
    }

    async fn fetch_optional<T>(&mut self, query: QueryAs<'_, Postgres, T, PgArguments>) -> Result<Option<T>, Error>
    where
        T: for<'r> sqlx::FromRow<'r, PgRow> + Send + Unpin,
    {
        let deadline = self.deadline;
        self.guarded(async |c| within(deadline, query.fetch_optional(c)).await).await
    }

    async fn fetch_all<T>(&mut self, query: QueryAs<'_, Postgres, T, PgArguments>) -> Result<Vec<T>, Error>
    where
        T: for<'r> sqlx::FromRow<'r, PgRow> + Send + Unpin,
    {
        let deadline = self.deadline;
        self.guarded(async |c| within(deadline, query.fetch_all(c)).await).await
    }

    /// Marks the connection while a statement is under way, so that a future dropped in the middle leaves the mark.
    async fn guarded<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let before = std::mem::replace(&mut self.state, State::Unknown);
        let result = statement(self.link.connection()?).await;
        if !matches!(result, Err(Error::DatabaseUnavailable(_))) {
            self.state = before;
        }
        result
    }
}

impl Link {
    fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        match self {
            Self::Pooled(Some(connection)) => Ok(connection),
            Self::Pooled(None) => Err(Error::internal("the connection was given back")),
            Self::Own(connection) => Ok(connection),
        }
    }
}

/// Gives the connection back, or closes it. sqlx pings what is given back, without a deadline: the deadline is here.
impl Drop for Conn {
    fn drop(&mut self) {
        let Link::Pooled(connection) = &mut self.link else {
            return;
        };
        let Some(mut connection) = connection.take() else {
            return;
        };
        match Handle::try_current() {
            Ok(runtime) if self.state == State::Idle => {
                runtime.spawn(timeout(self.deadline, connection.return_to_pool()));
            }
            _ => connection.close_on_drop(),
        }
    }
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

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match timeout(deadline, work).await {
        Ok(result) => result.map_err(classify),
        Err(elapsed) => Err(out_of_time(elapsed)),
    }
}

fn out_of_time(elapsed: Elapsed) -> Error {
    Error::DatabaseUnavailable(elapsed.into())
}

/// A connection that cannot be had is an outage, whatever the reason.
fn unreachable(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::PoolClosed => Error::ShuttingDown,
        error => Error::DatabaseUnavailable(error.into()),
    }
}

fn migration_failed(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => classify(error),
        error => Error::internal(error),
    }
}

/// The server's SQLSTATE.
fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// What an error of the database means to a caller. Only the server's codes are looked at, never its texts.
fn classify(error: sqlx::Error) -> Error {
    let Some(code) = code(&error) else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::TypeNotFound { .. } => {
                Error::internal(error)
            }
            error => Error::DatabaseUnavailable(error.into()),
        };
    };
    match code.as_str() {
        // Serialization failure, deadlock.
        "40001" | "40P01" => Error::Conflict,
        // Read-only after a failover, transaction cut short, lock not available.
        "25006" | "25P03" | "55P03" => Error::DatabaseUnavailable(error.into()),
        // Connection exceptions, resources, operator intervention (statement_timeout too), system errors.
        code if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            Error::DatabaseUnavailable(error.into())
        }
        _ => Error::internal(error),
    }
}
