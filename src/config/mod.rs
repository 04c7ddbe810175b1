//! Settings: each by flag and by `COUNTERSIGN_*` variable, read and checked before any port is bound.

mod audit;
mod hints;
mod login;
mod passwords;
mod policy;
mod restores;
mod rule;
mod sessions;

use std::{
    env, fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

pub use self::{
    hints::Hints,
    login::Peppering,
    passwords::PasswordSettings,
    policy::{Policy, PolicySettings},
    restores::AfterRestore,
    sessions::{SessionLimit, SessionLimitAction, SessionSettings},
};
use crate::error::Error;

/// How to reach the database.
#[derive(Args, Clone)]
pub struct DatabaseSettings {
    /// Postgres, as postgres://user:password@host/database; several hosts with commas
    #[arg(long, env = "COUNTERSIGN_DATABASE_URL", hide_env_values = true)]
    pub database_url: String,

    /// Most connections that requests share
    #[arg(long, env = "COUNTERSIGN_DATABASE_CONNECTIONS", default_value_t = 16)]
    pub database_connections: u32,

    /// How long a request waits for a connection, and then for each statement
    #[arg(long, env = "COUNTERSIGN_DATABASE_DEADLINE", default_value = "2s", value_parser = humantime::parse_duration)]
    pub database_deadline: Duration,
}

/// Where to listen, and whom to trust.
#[derive(Args, Clone, Debug)]
pub struct ServeSettings {
    /// Where gRPC listens; port 0 takes a free one
    #[arg(long, env = "COUNTERSIGN_GRPC_ADDR", default_value = "0.0.0.0:50051")]
    pub grpc_addr: SocketAddr,

    /// Where HTTP listens (JWKS, probes); port 0 takes a free one
    #[arg(long, env = "COUNTERSIGN_HTTP_ADDR", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,

    /// File with the bearer token of administrators; without it nobody administers over gRPC
    #[arg(long, env = "COUNTERSIGN_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// Where the master keys are that seal all others: in the file, or in the variable `COUNTERSIGN_MASTER_KEY`, which no
/// flag can set, because what is on a command line is no secret.
#[derive(Args, Clone, Debug)]
pub struct MasterKeySettings {
    /// File with the master keys, 32 bytes in base64 on each line: the first seals, all open. COUNTERSIGN_MASTER_KEY may
    /// hold the same instead
    #[arg(long, env = "COUNTERSIGN_MASTER_KEY_FILE")]
    pub master_key_file: Option<PathBuf>,
}

/// How to log.
#[derive(Args, Clone, Debug)]
pub struct LogSettings {
    /// What to log, as in RUST_LOG
    #[arg(long, env = "COUNTERSIGN_LOG", default_value = "info", global = true)]
    pub log: String,

    /// How to write it
    #[arg(long, env = "COUNTERSIGN_LOG_FORMAT", default_value = "text", value_enum, global = true)]
    pub log_format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl MasterKeySettings {
    /// The list of master keys, and the setting that it comes from.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there is none, or two, or the file cannot be read.
    pub fn read(&self) -> Result<(&'static str, Zeroizing<String>), Error> {
        let variable = env::var("COUNTERSIGN_MASTER_KEY").ok().filter(|list| !list.is_empty()).map(Zeroizing::new);
        match (&self.master_key_file, variable) {
            (Some(path), None) => Ok(("master-key-file", read_file("master-key-file", path)?)),
            (None, Some(list)) => Ok(("COUNTERSIGN_MASTER_KEY", list)),
            (Some(_), Some(_)) => Err(Error::invalid("master-key-file", "not together with COUNTERSIGN_MASTER_KEY")),
            (None, None) => {
                let advice = "needed, or COUNTERSIGN_MASTER_KEY: `countersign keys generate-master` prints a key";
                Err(Error::invalid("master-key-file", advice))
            }
        }
    }
}

/// Reads a small file that a setting names.
///
/// # Errors
/// [`Error::InvalidArgument`] for `setting`.
pub fn read_file(setting: &'static str, path: &Path) -> Result<Zeroizing<String>, Error> {
    let content =
        fs::read_to_string(path).map_err(|error| Error::invalid(setting, format!("{}: {error}", path.display())))?;
    Ok(Zeroizing::new(content))
}

/// The URL holds a password.
impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseSettings(..)")
    }
}

impl DatabaseSettings {
    /// Checks the ranges; the URL is read by the store.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the first setting that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let deadlines = Duration::from_millis(100)..=Duration::from_secs(30);
        if !(1..=1000).contains(&self.database_connections) {
            return Err(Error::invalid("database-connections", "1 to 1000"));
        }
        if !deadlines.contains(&self.database_deadline) {
            return Err(Error::invalid("database-deadline", "100ms to 30s"));
        }
        Ok(())
    }

    /// The defaults, for the private cluster of `dev`.
    pub fn local(database_url: String) -> Self {
        Self { database_url, database_connections: 16, database_deadline: Duration::from_secs(2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_given_some_connections_and_some_time() {
        let settings = DatabaseSettings::local("postgres://localhost/x".into());
        assert!(settings.check().is_ok());
        assert!(DatabaseSettings { database_connections: 0, ..settings.clone() }.check().is_err());
        for bad in [Duration::ZERO, Duration::from_secs(31)] {
            assert!(DatabaseSettings { database_deadline: bad, ..settings.clone() }.check().is_err());
        }
    }
}
