//! Errors of the database, and their meaning to a caller. Only the server's codes are looked at, never its texts.

use sqlx::migrate::MigrateError;
use tokio::time::error::Elapsed;

use crate::error::Error;

pub(super) fn out_of_time(elapsed: Elapsed) -> Error {
    Error::DatabaseUnavailable(elapsed.into())
}

/// A connection that cannot be had is an outage, whatever the reason.
pub(super) fn unreachable(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::PoolClosed => Error::ShuttingDown,
        error => Error::DatabaseUnavailable(error.into()),
    }
}

pub(super) fn migration_failed(error: MigrateError) -> Error {
    match error {
        MigrateError::Execute(error) => classify(error),
        error => Error::internal(error),
    }
}

/// The server's SQLSTATE.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// The failure of a statement, and its meaning for the connection.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub verdict: Verdict,
}

/// The verdict on connections after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is as good as before.
    Good,
    /// The connection is not used again.
    Broken,
    /// Nor are those that were made before the failure: it would be theirs too.
    AllBroken,
}

impl Failure {
    fn conflict(verdict: Verdict) -> Self {
        Self { error: Error::Conflict, verdict }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let unavailable = matches!(error, Error::DatabaseUnavailable(_));
        Self { error, verdict: if unavailable { Verdict::Broken } else { Verdict::Good } }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match code(&error).as_deref() {
            // Serialization failure, deadlock, lock_timeout.
            Some("40001" | "40P01" | "55P03") => Self::conflict(Verdict::Good),
            // A plan whose columns have other types now, a prepared statement that is gone: sqlx would use it for ever.
            Some("0A000" | "26000") => Self::conflict(Verdict::AllBroken),
            // An internal error of the server; of Citus, a connection to another node that is essential, before any commit.
            Some("XX000") => Self::conflict(Verdict::Broken),
            // Read-only since a failover.
            Some("25006") => Self { error: Error::DatabaseUnavailable(error.into()), verdict: Verdict::AllBroken },
            _ => meaning(error).into(),
        }
    }
}

/// The meaning of a statement's failure where its connection is not used again.
pub(super) fn classify(error: sqlx::Error) -> Error {
    Failure::from(error).error
}

fn meaning(error: sqlx::Error) -> Error {
    match code(&error) {
        None => match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::TypeNotFound { .. } => {
                Error::internal(error)
            }
            error => Error::DatabaseUnavailable(error.into()),
        },
        // Transaction cut short, connection exceptions, resources, operator intervention (statement_timeout too), system
        // errors.
        Some(code) if code == "25P03" || ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            Error::DatabaseUnavailable(error.into())
        }
        Some(_) => Error::internal(error),
    }
}
