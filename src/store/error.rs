//! Errors of the database, and their meaning to a caller. Only the server's codes are looked at, never its texts. What it
//! says is handed on without the place in its own source, which means nothing to anybody else.

use sqlx::{error::DatabaseError, migrate::MigrateError};
use tokio::time::error::Elapsed;

use crate::error::{Error, Source};

const INSUFFICIENT_PRIVILEGE: &str = "42501";

pub(super) fn out_of_time(elapsed: Elapsed) -> Error {
    Error::DatabaseUnavailable(elapsed.into())
}

/// A connection that cannot be had is an outage, whatever the reason.
pub(super) fn unreachable(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::PoolClosed => Error::ShuttingDown,
        error => unavailable(error),
    }
}

pub(super) fn migration_failed(error: MigrateError) -> Error {
    let unknown = |why: String| Error::invalid("database-url", why);
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error),
        MigrateError::VersionMissing(version) => unknown(format!(
            "its schema has migration {version}, which this version of countersign does not know: use the newer one"
        )),
        MigrateError::VersionMismatch(version) => unknown(format!(
            "its migration {version} is another one than here: the database is not countersign's, or that of another build"
        )),
        error => Error::internal(error),
    }
}

/// An outage, for what the database or the way to it did.
pub fn unavailable(error: sqlx::Error) -> Error {
    Error::DatabaseUnavailable(plain(error))
}

/// The error as it is told: the server's own words with its code.
fn plain(error: sqlx::Error) -> Source {
    match error {
        sqlx::Error::Database(error) if error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE) => {
            format!("{}: `countersign doctor` says which grants the role lacks", server_said(error.as_ref())).into()
        }
        sqlx::Error::Database(error) => server_said(error.as_ref()).into(),
        error => error.into(),
    }
}

/// The server's words, with its SQLSTATE.
pub(super) fn server_said(error: &dyn DatabaseError) -> String {
    format!("{} (SQLSTATE {})", error.message(), error.code().unwrap_or_default())
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
            Some("25006") => Self { error: unavailable(error), verdict: Verdict::AllBroken },
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
            error => unavailable(error),
        },
        // Transaction cut short, connection exceptions, resources, operator intervention (statement_timeout too), system
        // errors.
        Some(code) if code == "25P03" || ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            unavailable(error)
        }
        Some(_) => Error::internal(plain(error)),
    }
}
