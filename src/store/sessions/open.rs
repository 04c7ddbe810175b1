//! Opening a session: its row and its audit event, by one statement, if the user is as it was.

use countersign_token::ids::new_v7;
use sqlx::query;

use super::super::{Conn, credentials::UserWithHash};
use crate::{
    domain::{
        audit::{Actor, CallNames, Kind},
        session::Session,
    },
    error::Error,
};

/// The outcome of opening a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The session was opened.
    Opened,
    /// Password, epoch or status of the user moved since they were read.
    UserMoved,
}

/// Opens `session` if the user still is as `credentials` say, and writes the audit event of it, for this call. The shared
/// lock on the user's row makes a revocation of all the user's sessions either see this one or make it fail.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn open(
    conn: &mut Conn,
    session: &Session,
    credentials: &UserWithHash,
    call: &CallNames,
) -> Result<Opening, Error> {
    let statement = query(
        "WITH owner AS (SELECT id, username FROM users WHERE id = $2 AND epoch = $13 AND password_hash = $14 \
           AND disabled_at IS NULL FOR SHARE), \
         opened AS (INSERT INTO refresh_tokens (session_id, user_id, generation, previous_generation, rotated_at, \
           created_at, expires_at, idle_expires_at, client_id, audience, client_ip, client_user_agent, epoch, \
           client_device) SELECT $1, id, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $15 FROM owner \
           RETURNING session_id, user_id, created_at, client_ip, client_user_agent, client_device) \
         INSERT INTO audit_events (id, at, kind, actor, user_id, username, session_id, client_ip, client_user_agent, \
           client_device, request_id, trace_id) SELECT $16, o.created_at, $17, $18, o.user_id, owner.username, \
           o.session_id, o.client_ip, o.client_user_agent, o.client_device, $19, $20 FROM opened o, owner",
    )
    .bind(session.id.0)
    .bind(session.user_id.0)
    .bind(i64::from(session.rotation.generation))
    .bind(i64::from(session.rotation.previous_generation))
    .bind(session.rotation.rotated_at)
    .bind(session.created_at)
    .bind(session.expires_at)
    .bind(session.idle_expires_at)
    .bind(&session.client_id)
    .bind(&session.audience)
    .bind(&session.client.ip)
    .bind(&session.client.user_agent)
    .bind(credentials.user.epoch)
    .bind(credentials.password_hash.as_str())
    .bind(&session.client.device)
    .bind(new_v7(session.created_at))
    .bind(Kind::LoginSucceeded.as_str())
    .bind(Actor::User.as_str())
    .bind(&call.request_id)
    .bind(&call.trace_id);
    match conn.execute(statement).await? {
        1 => Ok(Opening::Opened),
        _ => Ok(Opening::UserMoved),
    }
}
