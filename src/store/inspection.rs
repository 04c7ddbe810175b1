//! Statements of an inspection: what the server, the role, the tables and the locks are like. They change nothing, and most of
//! them read catalogues that any role may read. What it means is decided in `cli/doctor`.

use sqlx::{postgres::PgSslMode, query_as};

use super::{Conn, Store};
use crate::error::Error;

/// The tables that `serve` works with, and what it does with the rows of each. A row that is locked counts as updated.
pub const NEEDS: [(&str, &[&str]); 16] = [
    ("_sqlx_migrations", &["SELECT"]),
    ("users", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("refresh_tokens", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("revocations", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("revocation_head", &["SELECT", "UPDATE"]),
    ("replicas", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("keys", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("service_clock", &["SELECT", "UPDATE"]),
    ("session_sweep", &["SELECT", "INSERT", "UPDATE"]),
    ("login_throttle", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("audit_events", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("log_identity", &["SELECT", "INSERT", "UPDATE"]),
    ("proofs", &["SELECT", "INSERT", "UPDATE"]),
    ("session_floor", &["SELECT", "UPDATE"]),
    ("decoy_secret", &["SELECT", "INSERT", "UPDATE"]),
    ("proxy_reports", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
];

/// The way to the server, by the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// True for a socket, and for addresses of this machine alone.
    pub is_local: bool,
    /// The part of the server's certificate that is verified, where there is TLS.
    pub verified: Verified,
}

/// A part of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Nothing is verified.
    Nothing,
    /// The CA is verified, and no name.
    Ca,
    /// The CA and the name of the host are verified.
    Host,
}

/// A server, and the role that asks it.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct ServerFacts {
    /// The version in words.
    pub version: String,
    /// The version as a number, such as 150014.
    pub version_num: i32,
    /// The encoding of the database.
    pub encoding: String,
    /// True for a standby.
    pub in_recovery: bool,
    /// True where transactions may not write unless they ask to.
    pub read_only: bool,
    /// The setting `max_connections`, without those reserved for superusers.
    pub connections: i32,
    /// The setting `autovacuum`.
    pub autovacuum: bool,
    /// Is this connection encrypted, as the server sees it?
    pub encrypted: bool,
    /// The schema of the tables; None if the role may use none.
    pub schema: Option<String>,
    /// The name of the role.
    pub role: String,
    /// True for a superuser.
    pub superuser: bool,
    /// The most connections of the role; negative for any number.
    pub role_connections: i32,
    /// May the role make tables in the schema?
    pub creates: bool,
    /// May the role ask which cluster this is, as each heartbeat does?
    pub names_cluster: bool,
}

/// A table of ours.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct TableFacts {
    /// The name of the table.
    pub name: String,
    /// True if the role owns the table, or is of a role that does.
    pub owned: bool,
    /// True if the table is left out by autovacuum.
    pub unvacuumed: bool,
    /// Rows, roughly.
    pub live: i64,
    /// Versions of rows that are of no use any more, roughly.
    pub dead: i64,
    /// The privileges of the role.
    pub granted: Vec<String>,
}

/// A transaction that may be in the way.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct OpenTransaction {
    /// The name of the transaction among those that run.
    pub holder: String,
    /// The process, or the name of the prepared transaction.
    pub name: String,
    /// True for one that was prepared (PREPARE TRANSACTION), and waits for its second phase.
    pub prepared: bool,
    /// True if it has locked the head of the revocation log.
    pub holds_head: bool,
    /// Seconds since it began; None for those of roles whose times this role may not see.
    pub seconds: Option<f64>,
}

impl Store {
    /// The way to the server that is in use.
    ///
    /// # Errors
    /// [`Error::Internal`] when there is none.
    pub fn way(&self) -> Result<Way, Error> {
        let host = self.hosts.current()?;
        let is_loopback = |host: &str| {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|addr| addr.to_canonical().is_loopback())
        };
        let verified = match host.get_ssl_mode() {
            PgSslMode::VerifyFull => Verified::Host,
            PgSslMode::VerifyCa => Verified::Ca,
            _ => Verified::Nothing,
        };
        Ok(Way {
            is_local: host.get_socket().is_some() || is_loopback(host.get_host().trim_matches(['[', ']'])),
            verified,
        })
    }

    /// The database and its server in words for people: the host and the port.
    pub fn place(&self) -> String {
        self.hosts.place()
    }

    /// A connection apart from the pool. It says why there is none, if so.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn connect_to_inspect(&self) -> Result<Conn, Error> {
        self.connect_with(&[]).await
    }
}

/// Reads what the server and the role are like.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn server(conn: &mut Conn) -> Result<ServerFacts, Error> {
    let statement = query_as::<_, ServerFacts>(
        "SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_num, \
           current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS in_recovery, \
           current_setting('transaction_read_only') = 'on' AS read_only, \
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int \
             - COALESCE(current_setting('reserved_connections', true), '0')::int AS connections, \
           current_setting('autovacuum') = 'on' AS autovacuum, \
           COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS encrypted, \
           current_schema()::text AS schema, r.rolname::text AS role, r.rolsuper AS superuser, \
           r.rolconnlimit AS role_connections, \
           COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false) AS creates, \
           has_function_privilege('pg_control_system()', 'EXECUTE') AS names_cluster \
         FROM pg_roles r WHERE r.rolname = current_user",
    );
    conn.fetch_optional(statement).await?.ok_or_else(|| Error::internal("the server does not know the role"))
}

/// Reads what those of [`NEEDS`] are like that are there.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn tables(conn: &mut Conn) -> Result<Vec<TableFacts>, Error> {
    let statement = query_as::<_, TableFacts>(
        "SELECT c.relname::text AS name, pg_has_role(c.relowner, 'USAGE') AS owned, \
           COALESCE('autovacuum_enabled=false' = ANY(c.reloptions), false) AS unvacuumed, \
           COALESCE(s.n_live_tup, 0) AS live, COALESCE(s.n_dead_tup, 0) AS dead, \
           ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p \
             WHERE has_table_privilege(c.oid, p)) AS granted \
         FROM unnest($1::text[]) n JOIN pg_class c ON c.oid = to_regclass(n) \
         LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid ORDER BY c.relname",
    );
    conn.fetch_all(statement.bind(NEEDS.map(|(name, _)| name.to_owned()).to_vec())).await
}

/// Reads which transactions hold the head of the log, which are prepared, and which are older than `seconds`. A prepared one has no
/// process: its locks are those beside the one on its own number. Those that wait for a lock themselves hold up nobody by it.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn transactions(conn: &mut Conn, seconds: f64) -> Result<Vec<OpenTransaction>, Error> {
    let statement = query_as::<_, OpenTransaction>(
        "WITH locks AS MATERIALIZED (SELECT * FROM pg_locks), \
         head AS (SELECT DISTINCT l.pid, l.virtualtransaction FROM locks l \
           WHERE l.locktype = 'relation' AND l.relation = to_regclass('revocation_head') AND l.granted \
             AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
             AND l.mode <> 'AccessShareLock' \
             AND NOT EXISTS (SELECT FROM locks w WHERE w.pid = l.pid AND NOT w.granted)) \
         SELECT * FROM (\
           SELECT '-1/' || p.transaction::text AS holder, p.gid AS name, true AS prepared, \
             EXISTS (SELECT FROM head h JOIN locks l USING (virtualtransaction) WHERE h.pid IS NULL AND l.pid IS NULL \
               AND l.locktype = 'transactionid' AND l.transactionid::text = p.transaction::text) AS holds_head, \
             extract(epoch FROM clock_timestamp() - p.prepared)::float8 AS seconds \
           FROM pg_prepared_xacts p WHERE p.database = current_database() \
           UNION ALL \
           SELECT COALESCE(h.virtualtransaction, a.pid::text), a.pid::text, false, h.pid IS NOT NULL, \
             extract(epoch FROM clock_timestamp() - a.xact_start)::float8 \
           FROM pg_stat_activity a LEFT JOIN head h ON h.pid = a.pid \
           WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() \
             AND a.backend_type IS DISTINCT FROM 'autovacuum worker') AS o \
         WHERE prepared OR holds_head OR seconds > $1 ORDER BY seconds DESC NULLS LAST, name",
    );
    conn.fetch_all(statement.bind(seconds)).await
}

/// The number of the newest row of the log.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn head(conn: &mut Conn) -> Result<i64, Error> {
    let read = conn.fetch_optional(query_as::<_, (i64,)>("SELECT seq FROM revocation_head")).await?;
    read.map(|(seq,)| seq).ok_or_else(|| Error::internal("the revocation log has no head row"))
}
