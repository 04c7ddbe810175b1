//! Moving a session on by a generation: one conditional UPDATE of one row, or of many by one statement.

use countersign_token::ids::SessionId;
use sqlx::query_as;
use time::OffsetDateTime;

use super::{
    super::Conn,
    row::{Row, columns},
};
use crate::{
    domain::{
        rotation::GenerationChange,
        session::{ClientInfo, Session},
    },
    error::Error,
};

/// The change that a rotation writes.
#[derive(Clone, Debug)]
pub struct RotationUpdate {
    /// The session that rotates.
    pub session_id: SessionId,
    /// The change of the generation.
    pub step: GenerationChange,
    /// The time.
    pub now: OffsetDateTime,
    /// The new end if it is not refreshed before; capped by the absolute end.
    pub idle_expires_at: OffsetDateTime,
    /// The client that ListSessions shows from now on, if it is to change.
    pub client: Option<ClientInfo>,
    /// The client_id that the session has to have; None for any.
    pub only_of: Option<String>,
}

/// The text that both statements of a rotation have in common, before and after where their values come from.
macro_rules! advance {
    ($from:literal) => {
        concat!(
            "UPDATE refresh_tokens s SET generation = n.upto, previous_generation = n.previous, rotated_at = n.now, \
             idle_expires_at = LEAST(n.idle_expires_at, s.expires_at), client_ip = COALESCE(n.ip, s.client_ip), \
             client_user_agent = COALESCE(n.user_agent, s.client_user_agent), \
             client_device = COALESCE(n.device, s.client_device) FROM ",
            $from,
            " AS n (id, since, upto, previous, now, idle_expires_at, ip, user_agent, device, only_of), users u \
             WHERE s.session_id = n.id AND (n.only_of IS NULL OR n.only_of = s.client_id) AND u.id = s.user_id AND s.generation = n.since AND s.revoked_at IS NULL \
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
pub async fn advance(conn: &mut Conn, advance: &RotationUpdate) -> Result<Option<Session>, Error> {
    let client = advance.client.as_ref();
    let statement = query_as::<_, Row>(advance!(
        "(VALUES ($1::uuid, $2::bigint, $3::bigint, $4::bigint, $5::timestamptz, $6::timestamptz, $7::text, $8::text, \
         $9::text, $10::text))"
    ))
    .bind(advance.session_id.0)
    .bind(i64::from(advance.step.from))
    .bind(i64::from(advance.step.to))
    .bind(i64::from(advance.step.previous))
    .bind(advance.now)
    .bind(advance.idle_expires_at)
    .bind(client.map(|client| &client.ip))
    .bind(client.map(|client| &client.user_agent))
    .bind(client.map(|client| &client.device))
    .bind(advance.only_of.as_deref());
    let row = conn.fetch_optional(statement).await?;
    row.map(Session::try_from).transpose()
}

/// The steps of several sessions, as [`advance`] makes each, by one statement and one commit. No two of the same session.
/// Says which were made, in any order.
///
/// # Errors
/// [`Error::Conflict`]: none of them was made. [`Error::DatabaseUnavailable`]: none or all of them.
pub async fn advance_all(conn: &mut Conn, advances: &[RotationUpdate]) -> Result<Vec<Session>, Error> {
    let client = |value: fn(&ClientInfo) -> &str| {
        advances.iter().map(|a| a.client.as_ref().map(value)).collect::<Vec<Option<&str>>>()
    };
    let statement = query_as::<_, Row>(advance!(
        "unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::text[], \
         $8::text[], $9::text[], $10::text[])"
    ))
    .bind(advances.iter().map(|a| a.session_id.0).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| i64::from(a.step.from)).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| i64::from(a.step.to)).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| i64::from(a.step.previous)).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| a.now).collect::<Vec<_>>())
    .bind(advances.iter().map(|a| a.idle_expires_at).collect::<Vec<_>>())
    .bind(client(|client| &client.ip))
    .bind(client(|client| &client.user_agent))
    .bind(client(|client| &client.device))
    .bind(advances.iter().map(|a| a.only_of.as_deref()).collect::<Vec<_>>());
    let rows = conn.fetch_all(statement).await?;
    rows.into_iter().map(Session::try_from).collect()
}
