//! Versions of Postgres that this service runs on: those that its tests run on.

use sqlx::query_as;

use super::Store;
use crate::error::Error;

/// Major versions.
const OLDEST: u32 = 12;
const NEWEST: u32 = 18;

/// The verdict on a server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Support {
    Tested,
    /// The version is newer than those of the tests, and will do, as far as is known.
    Newer {
        major: u32,
    },
    TooOld {
        major: u32,
    },
}

impl Support {
    /// The support for `server_version_num`, such as 150014.
    fn of(version: u32) -> Self {
        match version / 10_000 {
            major if major < OLDEST => Self::TooOld { major },
            major if major > NEWEST => Self::Newer { major },
            _ => Self::Tested,
        }
    }
}

impl Store {
    /// Refuses a server that is too old, and warns of one that is newer than those that are tested.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that is too old; [`Error::DatabaseUnavailable`].
    pub async fn check_version(&self) -> Result<(), Error> {
        let asked = query_as::<_, (i32,)>("SELECT current_setting('server_version_num')::int");
        let answer = self.acquire().await?.fetch_optional(asked).await?;
        let version = answer.and_then(|(version,)| u32::try_from(version).ok());
        match version.map(Support::of) {
            Some(Support::Tested) => Ok(()),
            Some(Support::Newer { major }) => {
                tracing::warn!(major, "Postgres is newer than the newest that is tested, {NEWEST}");
                Ok(())
            }
            Some(Support::TooOld { major }) => {
                let advice = format!("Postgres {major} is too old: {OLDEST} to {NEWEST} are supported");
                Err(Error::invalid("database-url", advice))
            }
            None => Err(Error::internal("the database has no version")),
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
