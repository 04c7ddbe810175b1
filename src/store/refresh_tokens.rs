//! Table `refresh_tokens`: one row per session. A rotation is one conditional UPDATE of one row.

use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Conn, proofs::proving};
use crate::{
    domain::{
        ids::{SessionId, UserId},
        revocation::{MAX_CLOCK_SKEW, Reason},
        rotation::{Liveness, RotationState, Step},
        session::{ClientInfo, Session},
        user::User,
    },
    error::Error,
};

macro_rules! columns {
    () => {
        "s.session_id, s.user_id, s.generation, s.previous_generation, s.rotated_at, s.created_at, \
     s.expires_at, s.idle_expires_at, s.revoked_at, s.client_id, s.audience, s.client_ip, s.client_user_agent, \
     s.client_device, s.epoch, u.roles, u.disabled_at IS NULL AND u.epoch = s.epoch AS user_allows"
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    session_id: Uuid,
    user_id: Uuid,
    generation: i64,
    previous_generation: i64,
    rotated_at: OffsetDateTime,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    idle_expires_at: OffsetDateTime,
    revoked_at: Option<OffsetDateTime>,
    client_id: String,
    audience: Vec<String>,
    client_ip: String,
    client_user_agent: String,
    client_device: String,
    epoch: i64,
    roles: Vec<String>,
    user_allows: bool,
    /// What was just rotated is neither.
    #[sqlx(default)]
    below_floor: bool,
    #[sqlx(default)]
    undecided: bool,
}

impl TryFrom<Row> for Session {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let liveness = match (row.revoked_at, row.user_allows && !row.below_floor) {
            (None, true) if row.undecided => Liveness::Undecided,
            (None, true) => Liveness::Until(row.expires_at.min(row.idle_expires_at)),
            _ => Liveness::Ended,
        };
        Ok(Self {
            id: SessionId(row.session_id),
            user_id: UserId(row.user_id),
            epoch: row.epoch,
            roles: row.roles,
            audience: row.audience,
            client_id: row.client_id,
            created_at: row.created_at,
            expires_at: row.expires_at,
            idle_expires_at: row.idle_expires_at,
            rotation: RotationState {
                generation: u32::try_from(row.generation).map_err(Error::internal)?,
                previous_generation: u32::try_from(row.previous_generation).map_err(Error::internal)?,
                rotated_at: row.rotated_at,
                liveness,
            },
            client: ClientInfo { ip: row.client_ip, user_agent: row.client_user_agent, device: row.client_device },
        })
    }
}

/// The sessions of these ids, whatever became of them, as a database has them that commits (rule M1).
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`]: nothing is known.
pub async fn find_all(conn: &mut Conn, ids: &[SessionId]) -> Result<Vec<Session>, Error> {
    let text = proving!(
        "SELECT ",
        columns!(),
        ", s.created_at < f.ended_before AS below_floor, s.created_at < f.undecided_before AS undecided \
         FROM refresh_tokens s JOIN users u ON u.id = s.user_id JOIN session_floor f ON f.one WHERE s.session_id = ANY($1)",
    );
    let rows = conn.fetch_all(query_as::<_, Row>(text).bind(ids.iter().map(|id| id.0).collect::<Vec<_>>())).await?;
    rows.into_iter().map(Session::try_from).collect()
}

/// What a rotation writes.
#[derive(Clone, Debug)]
pub struct Advance {
    /// Which session.
    pub session_id: SessionId,
    /// From which generation to which.
    pub step: Step,
    /// The time.
    pub now: OffsetDateTime,
    /// The new end if it is not refreshed before; capped by the absolute end.
    pub idle_expires_at: OffsetDateTime,
    /// What ListSessions shows from now on, if it is to change.
    pub client: Option<ClientInfo>,
}

/// What both statements of a rotation have in common, before and after where their values come from.
macro_rules! advance {
    ($from:literal) => {
        concat!(
            "UPDATE refresh_tokens s SET generation = n.upto, previous_generation = n.previous, rotated_at = n.now, \
             idle_expires_at = LEAST(n.idle_expires_at, s.expires_at), client_ip = COALESCE(n.ip, s.client_ip), \
             client_user_agent = COALESCE(n.user_agent, s.client_user_agent), \
             client_device = COALESCE(n.device, s.client_device) FROM ",
            $from,
            " AS n (id, since, upto, previous, now, idle_expires_at, ip, user_agent, device), users u \
             WHERE s.session_id = n.id AND u.id = s.user_id AND s.generation = n.since AND s.revoked_at IS NULL \
             AND u.disabled_at IS NULL AND u.epoch = s.epoch AND s.expires_at > n.now AND s.idle_expires_at > n.now \
             AND s.created_at >= (SELECT GREATEST(ended_before, undecided_before) FROM session_floor) \
             RETURNING ",
            columns!(),
        )
    };
}

/// Makes one step if the session is alive and still at `step.from`; None if it is not. The row lock serialises this with
/// other rotations and with revocations (REQUIREMENTS R65).
///
/// # Errors
/// [`Error::Conflict`]: it was not made. [`Error::DatabaseUnavailable`].
pub async fn advance(conn: &mut Conn, advance: &Advance) -> Result<Option<Session>, Error> {
    let client = advance.client.as_ref();
    let statement = query_as::<_, Row>(advance!(
        "(VALUES ($1::uuid, $2::bigint, $3::bigint, $4::bigint, $5::timestamptz, $6::timestamptz, $7::text, $8::text, \
         $9::text))"
    ))
    .bind(advance.session_id.0)
    .bind(i64::from(advance.step.from))
    .bind(i64::from(advance.step.to))
    .bind(i64::from(advance.step.previous))
    .bind(advance.now)
    .bind(advance.idle_expires_at)
    .bind(client.map(|client| &client.ip))
    .bind(client.map(|client| &client.user_agent))
    .bind(client.map(|client| &client.device));
    let row = conn.fetch_optional(statement).await?;
    row.map(Session::try_from).transpose()
}

/// The steps of several sessions, as [`advance`] makes each, by one statement and one commit. No two of the same session.
/// Says which were made, in any order.
///
/// # Errors
/// [`Error::Conflict`]: none of them was made. [`Error::DatabaseUnavailable`]: none or all of them.
pub async fn advance_all(conn: &mut Conn, advances: &[Advance]) -> Result<Vec<Session>, Error> {
    let client = |value: fn(&ClientInfo) -> &str| {
        advances.iter().map(|a| a.client.as_ref().map(value)).collect::<Vec<Option<&str>>>()
    };
    let statement = query_as::<_, Row>(advance!(
        "unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::text[], \
         $8::text[], $9::text[])"
    ))
    .bind(advances.iter().map(|a| a.session_id.0).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| i64::from(a.step.from)).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| i64::from(a.step.to)).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| i64::from(a.step.previous)).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| a.now).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| a.idle_expires_at).collect::<Vec<_>>())
    .bind(client(|client| &client.ip))
    .bind(client(|client| &client.user_agent))
    .bind(client(|client| &client.device));
    let rows = conn.fetch_all(statement).await?;
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

/// How many live sessions a user has, counted up to 10,000 so that a user with very many can still be locked out.
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
