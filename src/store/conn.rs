//! A connection that knows whether it is fit to be used again. Statements go through it alone, so that each has a deadline
//! and leaves a mark while it is under way.

use std::{future::Future, sync::Arc, time::Duration};

use sqlx::{
    Connection as _, Execute, PgConnection, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::{Query, QueryAs},
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use super::{
    error::{Failure, Verdict, out_of_time},
    health::Health,
    hosts::Hosts,
    notice,
    retirement::Generation,
    statement_summary,
};
use crate::{error::Error, metrics::StatementOutcome, trace::Child};

/// Longest time for which a connection is tried. A database that has restarted is an outage for one request at most,
/// not for one of each connection.
pub(super) const PING: Duration = Duration::from_millis(500);

/// A connection, from the pool or of its own.
#[derive(Debug)]
pub struct Conn {
    link: Link,
    terms: Terms,
    generation: Generation,
    /// The share of those who may have only so many connections together.
    share: Option<OwnedSemaphorePermit>,
    state: State,
}

/// The deadline of each statement of a connection, and the place where failures are noted.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) deadline: Duration,
    pub(super) health: Arc<Health>,
    pub(super) hosts: Arc<Hosts>,
}

impl Terms {
    /// The span of a statement.
    fn span(&self, text: &str) -> Child {
        if text.is_empty() {
            return Child::default();
        }
        Child::begin_statement(text, statement_summary::of, || self.hosts.database())
    }
}

#[derive(Debug)]
enum Link {
    /// A connection of the pool; `Some` until it is given back.
    Pooled(Option<PoolConnection<Postgres>>),
    Own(Box<PgConnection>),
}

/// The state that would be lost if the connection went back to the pool now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    InTransaction,
    /// A statement is under way, was cut short, or may not be done though the server says so.
    Unknown,
}

impl Conn {
    pub(super) fn pooled(connection: PoolConnection<Postgres>, generation: Generation, terms: Terms) -> Self {
        Self::new(Link::Pooled(Some(connection)), generation, terms)
    }

    pub(super) fn own(connection: PgConnection, generation: Generation, terms: Terms) -> Self {
        Self::new(Link::Own(Box::new(connection)), generation, terms)
    }

    fn new(link: Link, generation: Generation, terms: Terms) -> Self {
        Self { link, terms, generation, share: None, state: State::Idle }
    }

    /// True if `Store::retire_connections` was called since the connection began to be made. Its statements fail from
    /// then on.
    pub fn is_retired(&self) -> bool {
        self.generation.is_retired()
    }

    /// True if the connection is fit to be used again.
    pub(super) fn is_fit(&self) -> bool {
        self.state == State::Idle && !self.is_retired()
    }

    /// Plans each statement anew when it is used next.
    pub(super) async fn forget_plans(&mut self) -> Result<(), Error> {
        self.control("DISCARD PLANS").await
    }

    /// True if the connection answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        let no_statement = "";
        self.guarded(no_statement, async |c| within(PING, c.ping()).await).await.is_ok()
    }

    /// Gives back `share` with the connection.
    pub(super) fn hold(&mut self, share: OwnedSemaphorePermit) {
        self.share = Some(share);
    }

    /// Starts a transaction (READ COMMITTED). Dropping the connection before [`Conn::commit`] rolls it back.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn begin(&mut self) -> Result<(), Error> {
        self.control("BEGIN").await?;
        self.state = State::InTransaction;
        Ok(())
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: the commit may or may not have happened (REQUIREMENTS R66).
    pub async fn commit(&mut self) -> Result<(), Error> {
        self.control("COMMIT").await?;
        self.state = State::Idle;
        Ok(())
    }

    /// One round trip, with nothing to prepare.
    pub(super) async fn control(&mut self, statement: &'static str) -> Result<(), Error> {
        let deadline = self.terms.deadline;
        self.guarded(statement, async |c| within(deadline, sqlx::raw_sql(statement).execute(c)).await).await.map(drop)
    }

    /// Runs a statement, and says how many rows it changed.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
    pub async fn execute(&mut self, query: Query<'_, Postgres, PgArguments>) -> Result<u64, Error> {
        let deadline = self.terms.deadline;
        let (text, arguments) = apart(query)?;
        let query = sqlx::query_with(text.clone(), arguments);
        let done = self.guarded(text.as_str(), async |c| within(deadline, query.execute(c)).await).await;
        done.map(|r| r.rows_affected())
    }

    pub(super) async fn fetch_optional<T>(
        &mut self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
    ) -> Result<Option<T>, Error>
    where
        T: for<'r> sqlx::FromRow<'r, PgRow> + Send + Unpin,
    {
        let deadline = self.terms.deadline;
        let (text, arguments) = apart(query)?;
        let query = sqlx::query_as_with(text.clone(), arguments);
        self.guarded(text.as_str(), async |c| within(deadline, query.fetch_optional(c)).await).await
    }

    pub(super) async fn fetch_all<T>(&mut self, query: QueryAs<'_, Postgres, T, PgArguments>) -> Result<Vec<T>, Error>
    where
        T: for<'r> sqlx::FromRow<'r, PgRow> + Send + Unpin,
    {
        let deadline = self.terms.deadline;
        let (text, arguments) = apart(query)?;
        let query = sqlx::query_as_with(text.clone(), arguments);
        self.guarded(text.as_str(), async |c| within(deadline, query.fetch_all(c)).await).await
    }

    /// Marks the connection while a statement is under way, so that a future dropped in the middle leaves the mark. `text` is
    /// for traces.
    async fn guarded<T>(
        &mut self,
        text: &str,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let before = std::mem::replace(&mut self.state, State::Unknown);
        self.check_generation()?;
        let timed = self.terms.health.time_statement(self.terms.span(text));
        let (result, warning) = notice::listening(statement(self.link.connection()?)).await;
        let result = match warning {
            Some(warning) => Err(warned(result, warning)),
            None => result,
        };
        timed.answered(result.as_ref().err().map_or(StatementOutcome::Ok, |failure| outcome_of(&failure.error)));
        let Err(Failure { error, verdict }) = result else {
            self.check_generation()?;
            self.state = before;
            return result.map_err(|failure| failure.error);
        };
        match verdict {
            Verdict::Good => self.state = before,
            Verdict::Broken => self.terms.health.note_failure(),
            Verdict::AllBroken => {
                self.terms.health.note_failure();
                self.terms.health.retire_stale();
            }
        }
        Err(error)
    }

    /// The answer of a server that was another one's since does not count.
    fn check_generation(&self) -> Result<(), Error> {
        if self.is_retired() { Err(Error::DatabaseUnavailable("the connection was retired".into())) } else { Ok(()) }
    }
}

/// The text of a query and its arguments, which a query gives away only together with itself.
fn apart<'q>(mut query: impl Execute<'q, Postgres>) -> Result<(SqlStr, PgArguments), Error> {
    let arguments = query.take_arguments().map_err(Error::internal)?;
    Ok((query.sql(), arguments.unwrap_or_default()))
}

/// The outcome of a statement that failed, for metrics.
fn outcome_of(error: &Error) -> StatementOutcome {
    match error {
        Error::Conflict => StatementOutcome::Conflict,
        Error::DatabaseUnavailable(_) | Error::ShuttingDown => StatementOutcome::Unavailable,
        _ => StatementOutcome::Internal,
    }
}

/// The failure of a statement that the server warned of: it is not done, whatever was answered.
fn warned<T>(result: Result<T, Failure>, warning: String) -> Failure {
    tracing::warn!(warning, "the database warned of what it answered: taken as not done");
    let error = result.err().map_or_else(|| Error::DatabaseUnavailable(warning.into()), |failure| failure.error);
    Failure { error, verdict: Verdict::Broken }
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
            Ok(runtime) if self.is_fit() => {
                runtime.spawn(timeout(self.terms.deadline, connection.return_to_pool()));
            }
            _ => connection.close_on_drop(),
        }
    }
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Failure> {
    timeout(deadline, work).await.map_err(out_of_time)?.map_err(Failure::from)
}
