//! The address of the database: one URL with one host or several, as libpq reads it, and which of them is wanted. sqlx
//! knows one host only, and passes over parameters that it does not know: here each is read, refused, or named in the
//! log.
//!
//! No error and no log line holds a part of the URL: a password that was not escaped may be any part of it.

use std::str::FromStr as _;

use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};

use crate::error::Error;

/// Parameters that sqlx reads. All but those of the host, which we give it.
const READ: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "dbname",
    "user",
    "password",
    "options",
];

/// Parameters that libpq reads and nobody misses: deadlines and keep-alives are our own, or the system's.
const MISSED_BY_NOBODY: [&str; 11] = [
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "application_name",
    "fallback_application_name",
    "load_balance_hosts",
    "sslcompression",
    "sslsni",
];

/// The kind of host that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any that can be reached.
    Any,
    /// One whose sessions may write.
    ReadWrite,
    /// One that is no standby.
    Primary,
}

/// The hosts, in their order, and which of them is wanted.
pub(super) struct Address {
    pub hosts: Vec<PgConnectOptions>,
    /// False if an `@` comes later: the user's password was not escaped, perhaps, and what is taken for a host is part of it.
    pub are_surely_hosts: bool,
    pub wanted: Wanted,
}

impl Address {
    /// Reads `postgres://user:password@host:port,host:port/database?parameters`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let whole = url.trim();
        let url = Url::split(whole).ok_or_else(|| refused("a postgres:// URL"))?;
        let parameters = Parameters::read(url.query)?;
        let places = parameters.places(url.hosts)?;
        let urls = places.iter().map(|place| url.of_host(place, &parameters.kept));
        let hosts: Option<Vec<_>> = urls.map(|url| PgConnectOptions::from_str(&url).ok().map(ours)).collect();
        let hosts = hosts.ok_or_else(|| {
            refused("a postgres:// URL, in which a user or password writes / ? # @ and % as %2F %3F %23 %40 %25")
        })?;
        let default = if hosts.len() > 1 { Wanted::ReadWrite } else { Wanted::Any };
        let are_surely_hosts = whole.matches('@').count() == url.user.matches('@').count();
        Ok(Self { hosts, are_surely_hosts, wanted: parameters.wanted.unwrap_or(default) })
    }
}

/// The options that all connections start with. Poolers refuse `extra_float_digits`, and we read no such numbers.
fn ours(host: PgConnectOptions) -> PgConnectOptions {
    host.application_name("countersign").extra_float_digits(None).disable_statement_logging()
}

/// The parts of a URL that matter here.
struct Url<'u> {
    /// The user, with its `@` where there is any.
    user: &'u str,
    hosts: &'u str,
    /// The path, with its `/` where there is any.
    path: &'u str,
    query: &'u str,
}

impl<'u> Url<'u> {
    fn split(url: &'u str) -> Option<Self> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"))?;
        let rest = rest.split('#').next()?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Some(Self { user, hosts, path, query })
    }

    /// The URL of one host, for sqlx.
    fn of_host(&self, place: &Place<'_>, kept: &str) -> String {
        let Self { user, path, .. } = self;
        let Place { authority, parameters } = place;
        format!("postgres://{user}{authority}{path}?{parameters}{kept}")
    }
}

/// The place of one host: `host:port` of the authority, and what the parameters say instead.
struct Place<'u> {
    authority: &'u str,
    parameters: String,
}

#[derive(Default)]
struct Parameters<'u> {
    /// The parameters as they go to sqlx.
    kept: String,
    /// Lists, as those of the authority are.
    hosts: Option<&'u str>,
    ports: Option<&'u str>,
    wanted: Option<Wanted>,
}

impl<'u> Parameters<'u> {
    fn read(query: &'u str) -> Result<Self, Error> {
        let mut parameters = Self::default();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "host" | "hostaddr" => parameters.hosts = Some(value),
                "port" => parameters.ports = Some(value),
                "target_session_attrs" => parameters.wanted = Some(wanted(value)?),
                "channel_binding" => refuse_channel_binding(value)?,
                name if READ.contains(&name) || name.starts_with("options[") => {
                    parameters.kept.push_str(parameter);
                    parameters.kept.push('&');
                }
                name => pass_over(name)?,
            }
        }
        Ok(parameters)
    }

    /// One for each host of the list in the authority, or of that in the parameters, which wins.
    fn places(&self, authority: &'u str) -> Result<Vec<Place<'u>>, Error> {
        let listed: Vec<&str> = authority.split(',').collect();
        let hosts: Vec<&str> = self.hosts.map_or_else(Vec::new, |hosts| list(hosts));
        let ports: Vec<&str> = self.ports.map_or_else(Vec::new, |ports| list(ports));
        let count = hosts.len().max(listed.len());
        let fits = |given: usize| given <= 1 || given == count;
        if !fits(hosts.len()) || !fits(ports.len()) || !fits(listed.len()) {
            return Err(refused("as many hosts as ports, or one port for all"));
        }
        let of = |values: &[&'u str], at: usize| values.get(at).or(values.first()).copied();
        let place = |at| {
            let parameter = |name, value: Option<&str>| value.map_or(String::new(), |value| format!("{name}={value}&"));
            let parameters = parameter("host", of(&hosts, at)) + &parameter("port", of(&ports, at));
            Place { authority: of(&listed, at).unwrap_or_default(), parameters }
        };
        Ok((0..count).map(place).collect())
    }
}

/// A list whose commas may be escaped, because they are in a query.
fn list(values: &str) -> Vec<&str> {
    values.split(',').flat_map(|value| value.split("%2C")).flat_map(|value| value.split("%2c")).collect()
}

fn wanted(value: &str) -> Result<Wanted, Error> {
    match value {
        "any" => Ok(Wanted::Any),
        "read-write" => Ok(Wanted::ReadWrite),
        "primary" => Ok(Wanted::Primary),
        _ => Err(refused("target_session_attrs any, read-write or primary, because the service writes")),
    }
}

/// sqlx binds no channel (SCRAM-SHA-256-PLUS): who requires it is told.
fn refuse_channel_binding(value: &str) -> Result<(), Error> {
    match value {
        "disable" | "prefer" => Ok(()),
        _ => Err(refused("channel_binding disable or prefer: binding is not supported; sslmode=verify-full is")),
    }
}

/// One that is unknown may be a slip of the pen that turns TLS off, so it is refused.
fn pass_over(name: &str) -> Result<(), Error> {
    let Some(known) = MISSED_BY_NOBODY.iter().find(|known| **known == name) else {
        return Err(refused(
            "a parameter of the URL is not supported: host, port, dbname, user, password, sslmode, sslrootcert, sslcert, \
             sslkey, options, target_session_attrs and channel_binding are",
        ));
    };
    tracing::warn!(parameter = known, "a parameter of the database's URL has no effect here");
    Ok(())
}

fn refused(expected: &str) -> Error {
    Error::invalid("database-url", expected)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Result<(Vec<String>, Wanted), String> {
        let address = Address::parse(url).map_err(|error| error.to_string())?;
        let place = |host: &PgConnectOptions| {
            let socket = host.get_socket().map(|socket| socket.display().to_string());
            let name = socket.unwrap_or_else(|| host.get_host().to_owned());
            let (user, database) = (host.get_username(), host.get_database().unwrap_or_default());
            format!("{user}@{name}:{}/{database}", host.get_port())
        };
        Ok((address.hosts.iter().map(place).collect(), address.wanted))
    }

    #[test]
    fn one_host_or_several_are_read_as_libpq_does() {
        let table: [(&str, &[&str], Wanted); 9] = [
            ("postgres://u:p@a/d", &["u@a:5432/d"], Wanted::Any),
            ("postgresql://u@a:1/d?target_session_attrs=primary", &["u@a:1/d"], Wanted::Primary),
            ("postgres://u:p@a:1,b:2/d?sslmode=disable", &["u@a:1/d", "u@b:2/d"], Wanted::ReadWrite),
            (" postgres://u:p@a,b,[::1]:3/d ", &["u@a:5432/d", "u@b:5432/d", "u@[::1]:3/d"], Wanted::ReadWrite),
            ("postgres://u:p@a,b/d?target_session_attrs=any", &["u@a:5432/d", "u@b:5432/d"], Wanted::Any),
            ("postgres://u@x/d?host=a,b&port=1,2", &["u@a:1/d", "u@b:2/d"], Wanted::ReadWrite),
            ("postgres://u@x:7/d?host=/s/a%2C/s/b", &["u@/s/a:7/d", "u@/s/b:7/d"], Wanted::ReadWrite),
            ("postgres://u@a,b/d?port=7", &["u@a:7/d", "u@b:7/d"], Wanted::ReadWrite),
            ("postgres://u:p%40q@%2Fs%2Fa,b/d", &["u@/s/a:5432/d", "u@b:5432/d"], Wanted::ReadWrite),
        ];
        for (url, hosts, wanted) in table {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            assert_eq!(parse(url), Ok((hosts, wanted)), "{url}");
        }
    }

    #[test]
    fn a_host_is_none_for_sure_where_a_password_may_not_be_escaped() {
        for (url, expected) in [
            ("postgres://u:p@a:1/d?sslmode=disable", true),
            ("postgres://a/d", true),
            ("postgres://u:p@q@a/d", true),
            ("postgres://u:12/x@y@db/z", false),
            ("postgres://u:12?user=x@db", false),
            ("postgres://u:12#x@db/z", false),
        ] {
            assert_eq!(Address::parse(url).map(|address| address.are_surely_hosts).ok(), Some(expected), "{url}");
        }
    }

    #[test]
    fn what_has_no_effect_is_harmless_or_refused_and_nothing_is_repeated() {
        let bad = [
            "secret",
            "mysql://u:secret@a/d",
            "postgres://u:secret@a/d?target_session_attrs=standby",
            "postgres://u:secret@a/d?target_session_attrs=read-only",
            "postgres://u:secret@a/d?channel_binding=require",
            "postgres://u:secret@a/d?sslmod=verify-full",
            "postgres://u:secret@a/d?sslcrl=secret",
            "postgres://u:secret@a/d?passfile=secret",
            "postgres://u:secret@a/d?sslmode=secret",
            "postgres://u:p?secret=q@a/d",
            "postgres://u:secret@a,b/d?port=1,2,3",
            "postgres://u:secret/x@a,b:secret/d",
        ];
        for url in bad {
            let error = parse(url).expect_err(url);
            assert!(!error.contains("secret") && error.starts_with("database-url: "), "{url}: {error}");
        }
        for harmless in ["channel_binding=prefer", "connect_timeout=5&keepalives=1", "load_balance_hosts=random"] {
            assert!(parse(&format!("postgres://u@a/d?{harmless}")).is_ok(), "{harmless}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(url in "(postgres://)?[a-z@:,/?&=%#\\[\\]]{0,40}") {
            drop(parse(&url));
        }
    }
}
