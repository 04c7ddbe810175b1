//! Words about a database that cannot be connected to: which one it is, and what came of it. Nothing of the URL is said but
//! the host, and not even that where it may be part of a password that was not escaped.

use std::fmt;

use sqlx::postgres::PgConnectOptions;

use super::error::server_said;
use crate::{
    domain::unreached::{no_answer, unreached},
    error::Error,
};

/// The SQLSTATEs of a user or password that is refused, and of a database that is not there.
const WRONG_USER: [&str; 2] = ["28000", "28P01"];
const NO_DATABASE: &str = "3D000";

/// The reason for which there is no connection, as a whole sentence.
#[derive(Debug)]
pub struct Unreached(String);

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreached {}

impl From<Unreached> for Error {
    fn from(unreached: Unreached) -> Self {
        Self::DatabaseUnavailable(unreached.into())
    }
}

impl Unreached {
    /// A host that did not answer in time.
    pub(super) fn silent(place: &str) -> Self {
        Self(no_answer(place))
    }

    /// A host that could not be connected to.
    pub(super) fn by(place: &str, error: &sqlx::Error) -> Self {
        Self(match error {
            sqlx::Error::Io(error) => unreached(place, error),
            sqlx::Error::Tls(error) => format!("{place} cannot be reached by TLS: {error}"),
            sqlx::Error::Database(error) => {
                let (code, said) = (error.code().unwrap_or_default(), server_said(error.as_ref()));
                match code.as_ref() {
                    code if WRONG_USER.contains(&code) => format!("{place} refused the user or the password: {said}"),
                    NO_DATABASE => format!("{place} has no such database, create it first: {said}"),
                    _ => format!("{place} refused the connection: {said}"),
                }
            }
            error => format!("{place} cannot be used: {error}"),
        })
    }
}

/// The name of a host in words, if it `is_surely_a_host`.
pub(super) fn place_of(host: &PgConnectOptions, is_surely_a_host: bool) -> String {
    if !is_surely_a_host {
        return "the database".to_owned();
    }
    let (name, port) = (host.get_host(), host.get_port());
    match host.get_socket() {
        Some(directory) => format!("the database at {}/.s.PGSQL.{port}", directory.display()),
        None => format!("the database at {name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{io, str::FromStr as _};

    use super::*;

    #[test]
    fn a_database_is_named_with_what_came_of_it() {
        let place = |url: &str| place_of(&PgConnectOptions::from_str(url).expect("a URL"), true);
        let refused = sqlx::Error::Io(io::ErrorKind::ConnectionRefused.into());
        for (url, said) in [
            ("postgres://me:s3cret@db.example:6543/x", "the database at db.example:6543 refused the connection"),
            ("postgres://me:s3cret@[::1]/x", "the database at [::1]:5432 refused the connection"),
            ("postgres://me@x/x?host=/run/pg", "the database at /run/pg/.s.PGSQL.5432 refused the connection"),
        ] {
            assert_eq!(Unreached::by(&place(url), &refused).to_string(), said);
            assert!(Unreached::silent(&place(url)).to_string().ends_with(" did not answer in time"));
        }
        let unsure = place_of(&PgConnectOptions::from_str("postgres://h/x").expect("a URL"), false);
        assert_eq!(Unreached::by(&unsure, &refused).to_string(), "the database refused the connection");
    }
}
