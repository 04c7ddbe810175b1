//! Reading sessions.

use countersign_token::ids::{SessionId, UserId};
use sqlx::query_as;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    super::{Conn, proofs::proving},
    row::{Row, columns},
};
use crate::{
    domain::{session::Session, user::User},
    error::Error,
};

/// The sessions of these ids, whatever became of them, as a database has them that commits (rule M1).
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`]: nothing is known.
pub async fn find_all(conn: &mut Conn, ids: &[SessionId]) -> Result<Vec<Session>, Error> {
    let text = proving!(
        "SELECT ",
        columns!(),
        ", s.created_at < f.ended_before AS below_floor, s.created_at < f.undecided_before AS undecided \
         FROM refresh_tokens s JOIN users u ON u.id = s.user_id LEFT JOIN session_floor f ON true WHERE s.session_id = ANY($1)",
    );
    let rows = conn.fetch_all(query_as::<_, Row>(text).bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())).await?;
    rows.into_iter().map(Session::try_from).collect()
}

/// Up to `limit` live sessions of a user after `after`, by id, as a database has them that commits.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn list(
    conn: &mut Conn,
    user: UserId,
    after: Uuid,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Session>, Error> {
    let text = proving!(
        "SELECT ",
        columns!(),
        " FROM refresh_tokens s JOIN users u ON u.id = s.user_id JOIN session_floor f ON f.one WHERE s.user_id = $1 \
          AND s.session_id > $2 AND s.created_at >= f.ended_before AND s.revoked_at IS NULL AND s.epoch = u.epoch AND s.expires_at > $4 AND s.idle_expires_at > $4 ORDER BY s.session_id LIMIT $3",
    );
    let statement = query_as::<_, Row>(text).bind(user.0).bind(after).bind(limit).bind(now);
    let rows = conn.fetch_all(statement).await?;
    rows.into_iter().map(Session::try_from).collect()
}

/// The sessions of a user that were marked as ended after `since`.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn revoked_since(conn: &mut Conn, user: UserId, since: OffsetDateTime) -> Result<Vec<SessionId>, Error> {
    let statement =
        query_as::<_, (Uuid,)>("SELECT session_id FROM refresh_tokens WHERE user_id = $1 AND revoked_at > $2")
            .bind(user.0)
            .bind(since);
    Ok(conn.fetch_all(statement).await?.into_iter().map(|(id,)| SessionId(id)).collect())
}

/// Number of live sessions of a user, counted up to 10,000 so that a user with very many can still be locked out.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn count_live(conn: &mut Conn, user: &User, now: OffsetDateTime) -> Result<usize, Error> {
    let statement = query_as::<_, (i64,)>(
        "SELECT count(*) FROM (SELECT FROM refresh_tokens WHERE user_id = $1 AND epoch = $2 AND revoked_at IS NULL \
         AND expires_at > $3 AND idle_expires_at > $3 AND created_at >= (SELECT ended_before FROM session_floor) LIMIT 10000) live",
    )
    .bind(user.id.0)
    .bind(user.epoch)
    .bind(now);
    let count = conn.fetch_optional(statement).await?.map_or(0, |(count,)| count);
    usize::try_from(count).map_err(Error::internal)
}

/// The live sessions of a user but the `newest`, the oldest first, 1,000 at most.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn live_but_newest(
    tx: &mut Conn,
    user: &User,
    newest: u32,
    now: OffsetDateTime,
) -> Result<Vec<SessionId>, Error> {
    let statement = query_as::<_, (Uuid,)>(
        "SELECT session_id FROM (SELECT session_id, row_number() OVER (ORDER BY created_at DESC, session_id DESC) AS place \
         FROM refresh_tokens WHERE user_id = $1 AND epoch = $2 AND revoked_at IS NULL AND expires_at > $3 \
         AND idle_expires_at > $3 AND created_at >= (SELECT ended_before FROM session_floor)) live WHERE place > $4 ORDER BY place DESC LIMIT 1000",
    );
    let statement = statement.bind(user.id.0).bind(user.epoch).bind(now).bind(i64::from(newest));
    Ok(tx.fetch_all(statement).await?.into_iter().map(|(id,)| SessionId(id)).collect())
}
