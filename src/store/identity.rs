//! Table `log_identity`, and which history of commits a server is on: its cluster and its timeline, of which a new one begins
//! with each promotion. What is particular to Postgres in this is here alone.

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

/// One row: `system`, `timeline`, and whether confirmations count on them (`settled`).
macro_rules! here {
    () => {
        concat!(
            "(SELECT system, timeline, EXISTS (SELECT FROM log_identity i WHERE i.system_identifier = system \
               AND i.timeline = here.timeline) AS settled \
             FROM (SELECT system_identifier AS system, ",
            $crate::store::identity::timeline!(),
            " AS timeline FROM pg_control_system() OFFSET 0) here)"
        )
    };
}
pub(super) use here;

/// Notes that confirmations count on `log`, if this server is on it.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn settle(conn: &mut Conn, log: LogIdentity) -> Result<(), Error> {
    let statement = query(concat!(
        "UPDATE log_identity SET system_identifier = $1, timeline = $2 FROM ",
        here!(),
        " h WHERE h.system = $1 AND h.timeline = $2",
    ));
    conn.execute(statement.bind(log.system).bind(log.timeline)).await.map(drop)
}
