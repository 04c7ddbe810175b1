//! The settings of the database.

use std::{fmt, time::Duration};

use clap::Args;

use super::{range::Range, violations::Violations};

const CONNECTIONS: Range<u32> = Range::number("database-connections", 1, 1000);
const DEADLINE: Range<Duration> = Range::time("database-deadline", Duration::from_millis(100), Duration::from_secs(30));

/// Settings of the database.
#[derive(Args, Clone)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Postgres, as postgres://user:password@host/database; several hosts with commas
    #[arg(long, env = "COUNTERSIGN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_CONNECTIONS",
        default_value_t = 16,
        help = CONNECTIONS.help("Most connections that requests share")
    )]
    pub database_connections: u32,

    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_DEADLINE",
        default_value = "2s",
        value_parser = humantime::parse_duration,
        help = DEADLINE.help("Longest time that a request waits for a connection, and then for each statement")
    )]
    pub database_deadline: Duration,
}

/// The URL holds a password.
impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseSettings(..)")
    }
}

impl DatabaseSettings {
    /// Checks the ranges; the URL is read by the store.
    pub fn check(&self, violations: &mut Violations) {
        CONNECTIONS.check(self.database_connections, violations);
        DEADLINE.check(self.database_deadline, violations);
    }

    /// The defaults, for the private cluster of `dev`.
    pub fn local(database_url: String) -> Self {
        Self { database_url, database_connections: 16, database_deadline: Duration::from_secs(2) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::violations::checked;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        database: DatabaseSettings,
    }

    #[test]
    fn a_database_is_given_some_connections_and_some_time() {
        let settings = DatabaseSettings::local("postgres://localhost/x".into());
        let check = |settings: &DatabaseSettings| checked(|violations| settings.check(violations));
        assert!(check(&settings).is_ok());
        assert!(check(&DatabaseSettings { database_connections: 0, ..settings.clone() }).is_err());
        for bad in [Duration::ZERO, Duration::from_secs(31)] {
            assert!(check(&DatabaseSettings { database_deadline: bad, ..settings.clone() }).is_err());
        }
    }

    #[test]
    fn the_private_cluster_is_used_by_the_defaults() {
        let read = Command::try_parse_from(["test", "--database-url", "x"]).expect("settings").database;
        let local = DatabaseSettings::local("x".into());
        assert_eq!(read.database_connections, local.database_connections);
        assert_eq!(read.database_deadline, local.database_deadline);
    }
}
