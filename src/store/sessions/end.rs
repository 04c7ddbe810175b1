//! Ending sessions, and removing those of a user who is deleted.

use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::Conn;
use crate::{
    domain::{
        ids::{SessionId, UserId},
        revocation::{MAX_CLOCK_SKEW, Reason},
        user::User,
    },
    error::Error,
};

/// Marks sessions as ended that are not yet; says which. Locks their rows in one order, so that two batches do not wait for each other.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn revoke(
    tx: &mut Conn,
    sessions: &[SessionId],
    reason: Reason,
    now: OffsetDateTime,
) -> Result<Vec<SessionId>, Error> {
    let ids: Vec<Uuid> = sessions.iter().map(|id| id.0).collect();
    let statement = query_as::<_, (Uuid,)>(
        "UPDATE refresh_tokens s SET revoked_at = $2, revoked_reason = $3 \
         FROM (SELECT session_id FROM refresh_tokens WHERE session_id = ANY($1) AND revoked_at IS NULL \
           ORDER BY session_id FOR UPDATE) due WHERE s.session_id = due.session_id RETURNING s.session_id",
    );
    let marked = tx.fetch_all(statement.bind(ids).bind(now).bind(reason.as_str())).await?;
    Ok(marked.into_iter().map(|(id,)| SessionId(id)).collect())
}

/// Marks the sessions of a user as ended, but `keep`; says which, and whether they had time left. Those that have ended by
/// themselves too, if they may be live by another clock.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn revoke_others(
    tx: &mut Conn,
    user: &User,
    keep: SessionId,
    reason: Reason,
    now: OffsetDateTime,
) -> Result<Vec<(SessionId, bool)>, Error> {
    let earlier = now - 2 * MAX_CLOCK_SKEW;
    let statement = query_as::<_, (Uuid, bool)>(
        "UPDATE refresh_tokens SET revoked_at = $3, revoked_reason = $4 WHERE user_id = $1 AND epoch = $2 \
         AND revoked_at IS NULL AND expires_at > $6 AND idle_expires_at > $6 AND session_id <> $5 \
         RETURNING session_id, expires_at > $3 AND idle_expires_at > $3",
    )
    .bind(user.id.0)
    .bind(user.epoch)
    .bind(now)
    .bind(reason.as_str())
    .bind(keep.0)
    .bind(earlier);
    Ok(tx.fetch_all(statement).await?.into_iter().map(|(id, live)| (SessionId(id), live)).collect())
}

/// Removes up to 5,000 rows of a user; says how many.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn delete_some(conn: &mut Conn, user: UserId) -> Result<u64, Error> {
    let statement = query(
        "DELETE FROM refresh_tokens WHERE session_id IN \
         (SELECT session_id FROM refresh_tokens WHERE user_id = $1 LIMIT 5000)",
    );
    conn.execute(statement.bind(user.0)).await
}
