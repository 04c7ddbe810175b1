//! Table `audit_events`. Opening a session and ending one write their events by their own statements.

use std::time::Duration;

use countersign_token::ids::{first_v7, new_v7};
use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Conn;
use crate::{
    domain::{
        audit::{CallNames, Event},
        user::Username,
    },
    error::Error,
};

/// An event as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct StoredEvent {
    /// Sorts by time.
    pub id: Uuid,
    /// The moment at which it happened.
    pub at: OffsetDateTime,
    /// The kind of the event.
    pub kind: String,
    /// The actor of the event.
    pub actor: String,
    /// The user whom the event is about.
    pub user_id: Option<Uuid>,
    /// The name that the user had at the time.
    pub username: Option<String>,
    /// The session that the event is about.
    pub session_id: Option<Uuid>,
    /// The reason of the event.
    pub reason: String,
    /// The details of the event.
    pub detail: String,
    /// The address of the client, as far as the caller said.
    pub client_ip: String,
    /// The user agent of the client, as far as the caller said.
    pub client_user_agent: String,
    /// The device of the client, as far as the caller said.
    pub client_device: String,
    /// The identity of the caller that was refused.
    pub caller: String,
    /// Number of equal events, or of those that it happened to.
    pub count: i64,
    /// The request id of the call, as its caller named it.
    pub request_id: Option<String>,
    /// The trace of the call, as its caller named it.
    pub trace_id: Option<String>,
}

/// Writes events, all of them of this call; without names, of none or of several.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn insert(conn: &mut Conn, events: &[Event], call: &CallNames, now: OffsetDateTime) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let text = |value: fn(&Event) -> &str| events.iter().map(value).collect::<Vec<_>>();
    let statement = query(
        "INSERT INTO audit_events (id, at, kind, actor, user_id, username, session_id, reason, detail, client_ip, \
           client_user_agent, client_device, caller, count, request_id, trace_id) \
         SELECT n.id, $2, n.kind, n.actor, n.user_id, n.username, n.session_id, n.reason, n.detail, n.client_ip, \
           n.client_user_agent, n.client_device, n.caller, n.count, $15, $16 \
         FROM unnest($1::uuid[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::uuid[], $8::text[], $9::text[], \
           $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[]) \
         AS n (id, kind, actor, user_id, username, session_id, reason, detail, client_ip, client_user_agent, \
           client_device, caller, count)",
    )
    .bind(events.iter().map(|_| new_v7(now)).collect::<Vec<_>>())
    .bind(now)
    .bind(text(|e| e.kind.as_str()))
    .bind(text(|e| e.actor.as_str()))
    .bind(events.iter().map(|e| e.user.as_ref().map(|(id, _)| id.0)).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.user.as_ref().map(|(_, name)| name.as_str())).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.session.map(|id| id.0)).collect::<Vec<_>>())
    .bind(text(|e| e.reason))
    .bind(text(|e| &e.detail))
    .bind(text(|e| &e.client.ip))
    .bind(text(|e| &e.client.user_agent))
    .bind(text(|e| &e.client.device))
    .bind(text(|e| &e.caller))
    .bind(events.iter().map(|e| i64::from(e.count)).collect::<Vec<_>>())
    .bind(&call.request_id)
    .bind(&call.trace_id);
    conn.execute(statement).await.map(drop)
}

/// The newest `limit` events with an id above `after`, oldest first; with `name`, those of users that were called so.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn newest(
    conn: &mut Conn,
    name: Option<&Username>,
    after: Uuid,
    limit: i64,
) -> Result<Vec<StoredEvent>, Error> {
    // Two statements, because a plan for both would read the whole table for a user with few events.
    let text = if name.is_some() {
        "SELECT * FROM audit_events WHERE id > $1 AND username = $3 ORDER BY id DESC LIMIT $2"
    } else {
        "SELECT * FROM audit_events WHERE id > $1 AND $3::text IS NULL ORDER BY id DESC LIMIT $2"
    };
    let statement = query_as::<_, StoredEvent>(text).bind(after).bind(limit).bind(name.map(Username::as_str));
    let mut events = conn.fetch_all(statement).await?;
    // Ids tell milliseconds apart.
    events.sort_unstable_by_key(|event| (event.at, event.id));
    Ok(events)
}

/// The events that are old at an age of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// Any events.
    All,
    /// Events of refusals.
    Refusals,
}

/// Deletes of the `limit` oldest events those that happened before `before`, and longer than `kept` ago by the database's
/// clock. Waits for nobody. Says how many.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn prune(
    conn: &mut Conn,
    which: Old,
    before: OffsetDateTime,
    kept: Duration,
    limit: i64,
) -> Result<u64, Error> {
    let text = match which {
        Old::All => {
            "DELETE FROM audit_events WHERE id IN (SELECT id FROM (SELECT id, at FROM audit_events WHERE id < $4 \
               ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) oldest WHERE at < LEAST($1, now() - $2 * interval '1 second'))"
        }
        // The condition is that of the index.
        Old::Refusals => {
            "DELETE FROM audit_events WHERE id IN (SELECT id FROM (SELECT id, at FROM audit_events WHERE id < $4 \
               AND kind IN ('login_failed', 'password_change_failed', 'administration_refused', 'caller_refused') \
               ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED) oldest WHERE at < LEAST($1, now() - $2 * interval '1 second'))"
        }
    };
    let statement = query(text).bind(before).bind(kept.as_secs_f64()).bind(limit).bind(first_v7(before));
    conn.execute(statement).await
}
