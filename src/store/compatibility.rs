//! Compatibility of a database: a version of Postgres on which the tests run, and UTF-8.

use sqlx::query_as;

use super::Store;
use crate::error::Error;

/// The oldest major version that is supported.
pub const OLDEST: u32 = 12;
/// The newest major version that is tested.
pub const NEWEST: u32 = 18;

/// Support of a server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// A version on which the tests run.
    Tested,
    /// A version that will do, as far as is known.
    Newer {
        /// The major version.
        major: u32,
    },
    /// A version that is not supported.
    TooOld {
        /// The major version.
        major: u32,
    },
}

impl Support {
    /// Support of `server_version_num`, such as 150014.
    pub fn of(version: u32) -> Self {
        match version / 10_000 {
            major if major < OLDEST => Self::TooOld { major },
            major if major > NEWEST => Self::Newer { major },
            _ => Self::Tested,
        }
    }
}

/// The encoding in which any name can be stored.
pub const ENCODING: &str = "UTF8";

impl Store {
    /// Refuses a server that is too old, and a database that is not in UTF-8. Warns of a server that is newer than those
    /// that are tested.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] says what is wrong with the database; [`Error::DatabaseUnavailable`].
    pub async fn check_compatible(&self) -> Result<(), Error> {
        let asked = query_as::<_, (i32, String)>(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')",
        );
        // A connection of its own, because the pool does not say why it has none.
        let answer = self.connect_with(&[]).await?.fetch_optional(asked).await?;
        let (version, encoding) = answer.ok_or_else(|| Error::internal("the database has no version"))?;
        check_version(u32::try_from(version).map_err(Error::internal)?)?;
        if encoding != ENCODING {
            let advice = format!("the database is in {encoding}: create it with ENCODING '{ENCODING}'");
            return Err(Error::invalid("database-url", advice));
        }
        Ok(())
    }
}

fn check_version(version: u32) -> Result<(), Error> {
    match Support::of(version) {
        Support::Tested => Ok(()),
        Support::Newer { major } => {
            tracing::warn!(major, "Postgres is newer than the newest that is tested, {NEWEST}");
            Ok(())
        }
        Support::TooOld { major } => {
            let advice = format!("Postgres {major} is too old: {OLDEST} to {NEWEST} are supported");
            Err(Error::invalid("database-url", advice))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tested_runs_what_is_older_does_not_and_what_is_newer_may() {
        let table = [
            (90_624, Support::TooOld { major: 9 }),
            (110_022, Support::TooOld { major: 11 }),
            (120_000, Support::Tested),
            (150_014, Support::Tested),
            (180_099, Support::Tested),
            (190_000, Support::Newer { major: 19 }),
        ];
        for (version, support) in table {
            assert_eq!(Support::of(version), support, "{version}");
        }
    }
}
