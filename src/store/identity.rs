//! Table `log_identity`: the name of the log, and the history of commits that it was given to. A server that finds
//! itself on another one has another log, with a name that the first replica gives it. Another one is another cluster,
//! another timeline, of which one begins with each promotion, or another table, as after a dump and a restore. What is
//! particular to Postgres in this is here alone.

use sqlx::query;

use super::Conn;
use crate::{domain::revocation::LogIdentity, error::Error};

/// The timeline on which this server commits; 0 for one that accepts no writes.
macro_rules! timeline {
    () => {
        "(CASE WHEN pg_is_in_recovery() THEN 0 \
          ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END)"
    };
}
pub(super) use timeline;

/// One row: where this server is (`system`, `timeline`, `relation`), the `log` that is there (NULL until it is named), and whether
/// confirmations count on it.
macro_rules! here {
    () => {
        concat!(
            "(SELECT w.*, i.id AS log, COALESCE(i.settled, false) AS settled \
             FROM (SELECT system_identifier AS system, ",
            $crate::store::identity::timeline!(),
            " AS timeline, 'log_identity'::regclass::oid::bigint AS relation FROM pg_control_system() OFFSET 0) w \
             LEFT JOIN log_identity i \
               ON i.system_identifier = w.system AND i.timeline = w.timeline AND i.relation = w.relation)"
        )
    };
}
pub(super) use here;

/// The columns of [`here`] without the cluster, which costs more than all else: for what makes nothing fresh and
/// confirms nothing.
macro_rules! probably_here {
    () => {
        concat!(
            "(SELECT i.id AS log, COALESCE(i.settled, false) AS settled FROM (SELECT ",
            $crate::store::identity::timeline!(),
            " AS timeline, 'log_identity'::regclass::oid::bigint AS relation OFFSET 0) w \
             LEFT JOIN log_identity i ON i.timeline = w.timeline AND i.relation = w.relation)"
        )
    };
}
pub(super) use probably_here;

/// The name of the log of this server; NULL until it has one.
macro_rules! log {
    () => {
        concat!("(SELECT h.log FROM ", $crate::store::identity::here!(), " h)")
    };
}
pub(super) use log;

/// Notes that confirmations count on `log`, if it is this server's.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn settle(conn: &mut Conn, log: LogIdentity) -> Result<(), Error> {
    let statement =
        query(concat!("UPDATE log_identity i SET settled = true FROM ", here!(), " h WHERE i.id = $1 AND h.log = $1"));
    conn.execute(statement.bind(log.0)).await.map(drop)
}
