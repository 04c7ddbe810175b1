//! What the database's errors mean to a caller. Only the server's codes are looked at, never its texts.

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

/// What the failure of a statement means.
pub(super) fn classify(error: sqlx::Error) -> Error {
    let Some(code) = code(&error) else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::TypeNotFound { .. } => {
                Error::internal(error)
            }
            error => Error::DatabaseUnavailable(error.into()),
        };
    };
    match code.as_str() {
        // Serialization failure, deadlock, lock_timeout.
        "40001" | "40P01" | "55P03" => Error::Conflict,
        // Read-only after a failover, transaction cut short.
        "25006" | "25P03" => Error::DatabaseUnavailable(error.into()),
        // Connection exceptions, resources, operator intervention (statement_timeout too), system errors.
        code if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            Error::DatabaseUnavailable(error.into())
        }
        _ => Error::internal(error),
    }
}
