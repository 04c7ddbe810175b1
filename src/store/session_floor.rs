//! Table `session_floor`: sessions that ended, or may have ended, by when they were opened. After a restore of an older backup
//! the rows of ended sessions are live again; no row of a session is touched to end them.

use sqlx::query;
use time::OffsetDateTime;

use super::Conn;
use crate::error::Error;

/// Ends the sessions that were opened before `before`. What was undecided of them is decided by that.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn raise(tx: &mut Conn, before: OffsetDateTime) -> Result<(), Error> {
    let statement = query(
        "UPDATE session_floor SET ended_before = GREATEST(ended_before, $1), \
         undecided_before = CASE WHEN undecided_before <= $1 THEN 'epoch' ELSE undecided_before END",
    );
    tx.execute(statement.bind(before)).await.map(drop)
}

/// Takes it upon the caller to deal with a restore, once: the database is one of today from then on. Says whether nobody else has.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn claim(tx: &mut Conn) -> Result<bool, Error> {
    let statement = query("UPDATE service_clock SET moved_at = now() WHERE moved_at < now() - interval '10 minutes'");
    Ok(tx.execute(statement).await? == 1)
}

/// Refreshes no session that was opened by now, until somebody decides. A minute more, because clocks differ.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn suspect(tx: &mut Conn) -> Result<(), Error> {
    let statement =
        query("UPDATE session_floor SET undecided_before = GREATEST(undecided_before, now() + interval '1 minute')");
    tx.execute(statement).await.map(drop)
}

/// Lets the sessions live that are undecided. Says whether there was anything to decide.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn accept(tx: &mut Conn) -> Result<bool, Error> {
    let statement = query("UPDATE session_floor SET undecided_before = 'epoch' WHERE undecided_before > 'epoch'");
    Ok(tx.execute(statement).await? == 1)
}

/// Takes the database for one of today, so that no server finds it restored that starts from now on.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn date(tx: &mut Conn) -> Result<(), Error> {
    tx.execute(query("UPDATE service_clock SET moved_at = now()")).await.map(drop)
}
