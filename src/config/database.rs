//! The settings of the database.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    file::{read_secret_file, warn_if_open},
    range::Range,
    violations::Violations,
};
use crate::{domain::text::without_end, error::Error};

const URL: &str = "database-url";
const URL_FILE: &str = "database-url-file";
const PASSWORD_FILE: &str = "database-password-file";
const NEEDED: &str = "needed: --database-url postgres://USER@HOST/DATABASE, before or after the subcommand, or \
    COUNTERSIGN_DATABASE_URL, or either with _FILE for a file that holds it";
/// Parameters of the URL that name the file of the client's key.
const KEY_FILES: [&str; 2] = ["sslkey", "ssl-key"];
const CONNECTIONS: Range<u32> = Range::number("database-connections", 1, 1000);
const DEADLINE: Range<Duration> = Range::time("database-deadline", Duration::from_millis(100), Duration::from_secs(30));

/// Place of the database. The settings are accepted before and after each subcommand.
#[derive(Args, Clone)]
#[command(next_help_heading = "Database")]
pub struct DatabasePlace {
    /// Postgres, as postgres://user:password@host/database; several hosts with commas
    #[arg(long, env = "COUNTERSIGN_DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,

    /// File with that URL, which may hold a password then
    #[arg(long, env = "COUNTERSIGN_DATABASE_URL_FILE", global = true)]
    pub database_url_file: Option<PathBuf>,

    /// File with the password of the database's user, instead of one in the URL
    #[arg(long, env = "COUNTERSIGN_DATABASE_PASSWORD_FILE", global = true)]
    pub database_password_file: Option<PathBuf>,
}

/// Settings of the database.
#[derive(Args, Clone)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Place
    #[command(flatten)]
    pub place: DatabasePlace,

    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_CONNECTIONS",
        global = true,
        default_value_t = 16,
        help = CONNECTIONS.help("Most connections that requests share")
    )]
    pub database_connections: u32,

    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_DEADLINE",
        global = true,
        default_value = "2s",
        value_parser = humantime::parse_duration,
        help = DEADLINE.help("Longest time that a request waits for a connection, and then for each statement")
    )]
    pub database_deadline: Duration,
}

/// The URL holds a password.
impl fmt::Debug for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabasePlace(..)")
    }
}

impl fmt::Debug for DatabaseSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseSettings(..)")
    }
}

impl DatabasePlace {
    /// The URL, with the password of the file if there is one; None if there is no URL. Says in the log if anybody may open a
    /// file with a secret.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for two URLs, a file that cannot be read, or a URL that has no user or a password already.
    pub fn find(&self) -> Result<Option<String>, Error> {
        let Some(url) = self.without_password()? else {
            return Ok(None);
        };
        // A name that is a file's is no part of a password.
        for key in KEY_FILES.into_iter().filter_map(|name| parameter(&url, name)) {
            warn_if_open(URL, Path::new(key));
        }
        let Some(path) = &self.database_password_file else {
            return Ok(Some(url));
        };
        let file = read_secret_file(PASSWORD_FILE, path)?;
        let with = with_password(&url, without_end(&file));
        with.map(Some).ok_or_else(|| Error::invalid(PASSWORD_FILE, "needs a URL with a user and without a password"))
    }

    fn without_password(&self) -> Result<Option<String>, Error> {
        match (&self.database_url, &self.database_url_file) {
            (Some(_), Some(_)) => {
                Err(Error::invalid(URL_FILE, "not together with database-url: leave one of them away"))
            }
            (None, Some(path)) => match read_secret_file(URL_FILE, path)?.trim() {
                "" => Err(Error::invalid(URL_FILE, format!("{}: it is empty", path.display()))),
                url => Ok(Some(url.to_owned())),
            },
            (url, None) => Ok(url.clone()),
        }
    }
}

impl DatabaseSettings {
    /// Checks the ranges, and that there is a URL; the URL is read by the store.
    pub fn check(&self, violations: &mut Violations) {
        violations.require(self.is_given(), URL, NEEDED);
        CONNECTIONS.check(self.database_connections, violations);
        DEADLINE.check(self.database_deadline, violations);
    }

    /// True if a database is named, by whatever setting.
    pub fn is_given(&self) -> bool {
        self.place.database_url.is_some() || self.place.database_url_file.is_some()
    }

    /// The URL, as [`DatabasePlace::find`] does.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], also where there is none.
    pub fn url(&self) -> Result<String, Error> {
        self.place.find()?.ok_or_else(|| Error::invalid(URL, NEEDED))
    }

    /// The defaults, for the private cluster of `dev`.
    pub fn local(database_url: String) -> Self {
        let place =
            DatabasePlace { database_url: Some(database_url), database_url_file: None, database_password_file: None };
        Self { place, database_connections: 16, database_deadline: Duration::from_secs(2) }
    }
}

/// The URL with this password for its user, escaped; None if it has no user, or a password in either place.
fn with_password(url: &str, password: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    if user.is_empty() || user.contains(':') || parameter(url, "password").is_some() {
        return None;
    }
    let escaped: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    Some(format!("{scheme}://{user}:{escaped}{}", rest.strip_prefix(user)?))
}

/// The value of a parameter of the URL, as it is written.
fn parameter<'u>(url: &'u str, name: &str) -> Option<&'u str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
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
    fn a_password_from_a_file_is_escaped_and_takes_the_place_of_none() {
        let with = |url: &str| with_password(url, "a/b@ü");
        let expected = "postgres://me:%61%2F%62%40%C3%BC@h:5432,i/x?sslmode=require";
        assert_eq!(with("postgres://me@h:5432,i/x?sslmode=require").as_deref(), Some(expected));
        for refused in [
            "postgres://h/x",
            "postgres://@h/x",
            "postgres://me:pw@h/x",
            "postgres://me:@h/x",
            "me@h",
            "postgres://me@h/x?password=y",
        ] {
            assert_eq!(with(refused), None, "{refused}");
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
