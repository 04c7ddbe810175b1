//! Table `log_identity`: the name of the log, and the history of commits that it was given to. A server that finds itself on
//! another one (another cluster, or another timeline, of which one begins with each promotion) has another log, with a name that
//! the first replica gives it. What is particular to Postgres in this is here alone.

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

/// One row: `system` and `timeline`, the `log` that they have (NULL until it is named), and whether confirmations count on it.
macro_rules! here {
    () => {
        concat!(
            "(SELECT w.system, w.timeline, i.id AS log, COALESCE(i.settled, false) AS settled \
             FROM (SELECT system_identifier AS system, ",
            $crate::store::identity::timeline!(),
            " AS timeline FROM pg_control_system() OFFSET 0) w \
             LEFT JOIN log_identity i ON i.system_identifier = w.system AND i.timeline = w.timeline)"
        )
    };
}
pub(super) use here;

/// The name of the log, by the timeline alone, which costs less.
macro_rules! log {
    () => {
        concat!("(SELECT i.id FROM log_identity i WHERE i.timeline = ", $crate::store::identity::timeline!(), ")")
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
