//! Deleting old sessions. Table `session_sweep`: how far the walk through the sessions has come.

use std::time::Duration;

use sqlx::{query, query_as};
use time::OffsetDateTime;

use super::super::Conn;
use crate::error::Error;

/// The outcome of a step of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another replica is sweeping.
    Taken,
    /// There are more sessions.
    More,
    /// The sessions of this step were the last ones: the next step begins with the first.
    Last,
}

/// Looks at the next `page` sessions in the order of their ids. Deletes those that ended before `before`, and longer
/// than `kept` ago by the database's clock. A session ends when it is revoked, at its absolute or its idle end, or with
/// its user's epoch. The epoch was raised no later than the user was last changed. Waits for nobody: neither for
/// another replica, nor for a row that a Refresh or a Revoke is about to change.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn step(conn: &mut Conn, before: OffsetDateTime, kept: Duration, page: i64) -> Result<Step, Error> {
    let statement = query_as::<_, (bool,)>(
        "WITH turn AS (SELECT after FROM session_sweep FOR UPDATE SKIP LOCKED), \
         past AS (SELECT LEAST($1, now() - $2 * interval '1 second') AS until), \
         page AS (SELECT session_id FROM refresh_tokens WHERE session_id > (SELECT after FROM turn) \
           ORDER BY session_id LIMIT $3), \
         due AS (SELECT s.session_id FROM refresh_tokens s JOIN users u ON u.id = s.user_id \
           WHERE s.session_id IN (SELECT session_id FROM page) \
           AND (LEAST(s.revoked_at, s.expires_at, s.idle_expires_at) < (SELECT until FROM past) \
             OR s.epoch < u.epoch AND u.updated_at < (SELECT until FROM past)) FOR UPDATE OF s SKIP LOCKED), \
         deleted AS (DELETE FROM refresh_tokens s USING due WHERE s.session_id = due.session_id), \
         next AS (SELECT COALESCE((SELECT session_id FROM page ORDER BY session_id OFFSET $3 - 1), \
           '00000000-0000-0000-0000-000000000000') AS after), \
         moved AS (UPDATE session_sweep s SET after = next.after FROM turn, next WHERE s.after <> next.after) \
         SELECT (SELECT count(*) FROM page) = $3 FROM turn",
    )
    .bind(before)
    .bind(kept.as_secs_f64())
    .bind(page);
    Ok(match conn.fetch_optional(statement).await? {
        None => {
            // Or there is no row, and nobody would ever have a turn.
            let anew = query(
                "INSERT INTO session_sweep (one, after) VALUES (true, '00000000-0000-0000-0000-000000000000') \
                 ON CONFLICT DO NOTHING",
            );
            conn.execute(anew).await?;
            Step::Taken
        }
        Some((true,)) => Step::More,
        Some((false,)) => Step::Last,
    })
}
