//! The schema: which migrations there are, which the database lacks, and applying them.

use sqlx::{
    PgConnection,
    migrate::{Migrate as _, MigrateError, Migrator},
};
use tokio::time::timeout;

use super::{
    error::{code, migration_failed, out_of_time},
    pool::Store,
    setup::Setup,
};
use crate::error::Error;

static MIGRATIONS: Migrator = sqlx::migrate!();

const UNDEFINED_TABLE: &str = "42P01";

/// The migrations of a database beside those of this program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrations {
    /// Number of those that the database lacks.
    pub missing: usize,
    /// Versions that only the database has: of a newer version of this program.
    pub newer: Vec<i64>,
    /// Versions that stand for another migration in the database than here.
    pub changed: Vec<i64>,
}

impl Store {
    /// Applies the migrations that are missing. They may take as long as they need.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a schema that is not ours.
    pub async fn migrate(&self) -> Result<(), Error> {
        let mut connection = self.connect_bare().await?;
        MIGRATIONS.run(&mut connection).await.map_err(migration_failed)
    }

    /// Number of migrations that the database lacks.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn missing_migrations(&self) -> Result<usize, Error> {
        Ok(self.migrations().await?.missing)
    }

    /// Compares the migrations of the database with ours.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn migrations(&self) -> Result<Migrations, Error> {
        let mut connection = self.connect_bare().await?;
        let listing = connection.list_applied_migrations("_sqlx_migrations");
        let applied = match timeout(self.deadline, listing).await.map_err(out_of_time)? {
            Err(MigrateError::Execute(error)) if code(&error).is_some_and(|code| code == UNDEFINED_TABLE) => vec![],
            listed => listed.map_err(migration_failed)?,
        };
        let missing = |version: i64| !applied.iter().any(|done| done.version == version);
        let mut found =
            Migrations { missing: MIGRATIONS.iter().filter(|m| missing(m.version)).count(), ..Migrations::default() };
        for done in &applied {
            match MIGRATIONS.iter().find(|m| m.version == done.version) {
                None => found.newer.push(done.version),
                Some(ours) if ours.checksum != done.checksum => found.changed.push(done.version),
                Some(_) => {}
            }
        }
        Ok(found)
    }

    /// A connection without the server's deadlines, for migrations and what else takes long.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn connect_bare(&self) -> Result<PgConnection, Error> {
        Ok(self.connect_by(&Setup::patient(self.wanted)).await?.0)
    }
}
