//! Tables `revocations` and `revocation_head`: the log that every verifier follows.
//!
//! The number of a row is taken under the lock of the head row, which is held until the commit. So numbers become
//! visible in their order and without gaps; a sequence would give neither.

use std::collections::HashMap;

use countersign_token::{
    ids::{SessionId, UserId, new_v7},
    revocation::{Revocation, Subject},
};
use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Conn, listener::CHANNEL};
use crate::{
    domain::{
        audit::{Actor, Cause, Event, Kind},
        revocation::{LogEntry, Position, Reason},
        user::Username,
    },
    error::Error,
};

#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) subject: Option<Uuid>,
    pub(super) epoch: Option<i64>,
    pub(super) expires_at: OffsetDateTime,
}

impl TryFrom<Row> for LogEntry {
    type Error = Error;

    /// A row that cannot be read is an error, never skipped (REQUIREMENTS V5).
    fn try_from(row: Row) -> Result<Self, Error> {
        let subject = match (row.kind.as_str(), row.subject, row.epoch) {
            ("session", Some(id), None) => Subject::Session(SessionId(id)),
            ("user", Some(id), Some(epoch)) => Subject::User(UserId(id), epoch),
            ("key", None, None) => Subject::Keys,
            ("opened_before", None, Some(seconds)) => {
                Subject::OpenedBefore(u64::try_from(seconds).map_err(Error::internal)?)
            }
            _ => {
                return Err(Error::internal(format!("revocation {} cannot be read", row.seq)));
            }
        };
        let expires_at = row.expires_at;
        Ok(Self { seq: row.seq, id: row.id, revocation: Revocation { subject, expires_at } })
    }
}

/// The head of the log, after it was written.
#[derive(sqlx::FromRow)]
struct Head {
    seq: i64,
    id: Option<Uuid>,
}

impl From<Head> for Position {
    fn from(head: Head) -> Self {
        Self { seq: head.seq, id: head.id }
    }
}

/// Appends to the log and keeps its head locked until the transaction ends, so it comes last. Appending nothing locks the
/// head and writes it too: what was found to have been logged before is then known to be in this log. Gives its newest row.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn append(
    tx: &mut Conn,
    revocations: &[(Revocation, Reason)],
    now: OffsetDateTime,
) -> Result<Position, Error> {
    let (mut kinds, mut subjects, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
    for (revocation, _) in revocations {
        let (kind, subject, epoch) = match revocation.subject {
            Subject::Session(id) => ("session", Some(id.0), None),
            Subject::User(id, epoch) => ("user", Some(id.0), Some(epoch)),
            Subject::Keys => ("key", None, None),
            Subject::OpenedBefore(seconds) => {
                ("opened_before", None, Some(i64::try_from(seconds).map_err(Error::internal)?))
            }
        };
        kinds.push(kind);
        subjects.push(subject);
        epochs.push(epoch);
    }
    let ids: Vec<Uuid> = revocations.iter().map(|_| new_v7(now)).collect();
    let expiries: Vec<OffsetDateTime> = revocations.iter().map(|(r, _)| r.expires_at).collect();
    let reasons: Vec<&str> = revocations.iter().map(|(_, reason)| reason.as_str()).collect();
    let count = i64::try_from(revocations.len()).map_err(Error::internal)?;
    let statement = query_as::<_, Head>(
        "WITH head AS (UPDATE revocation_head SET seq = seq + $1, id = COALESCE($9, id) RETURNING seq, id), \
         logged AS (INSERT INTO revocations (seq, id, kind, subject, epoch, expires_at, revoked_at, reason) \
           SELECT head.seq - $1 + n.place, n.id, n.kind, n.subject, n.epoch, n.expires_at, $7, n.reason \
           FROM head, unnest($2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::timestamptz[], $8::text[]) \
             WITH ORDINALITY AS n (id, kind, subject, epoch, expires_at, reason, place)) \
         SELECT seq, id FROM head",
    )
    .bind(count)
    .bind(&ids)
    .bind(kinds)
    .bind(subjects)
    .bind(epochs)
    .bind(expiries)
    .bind(now)
    .bind(reasons)
    .bind(ids.last());
    let head = tx.fetch_optional(statement).await?;
    head.map(Position::from).ok_or_else(|| Error::internal("the revocation log has no head row"))
}

/// Wakes the followers of all replicas, but for the one that says it has committed. After the commit, by a statement of its
/// own: not every pooler and engine lets it be part of another.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn notify(conn: &mut Conn, by: Option<Uuid>) -> Result<(), Error> {
    let by = by.map(|replica| replica.to_string()).unwrap_or_default();
    conn.execute(query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(by)).await.map(drop)
}

/// An order to end sessions, and what is written of them.
#[derive(Debug)]
pub struct Ending<'a> {
    /// Each, and why.
    pub sessions: &'a HashMap<SessionId, Cause>,
    /// The actor of what is administered here.
    pub operator: Actor,
    /// The time.
    pub now: OffsetDateTime,
    /// The moment from which on the rows of the log may be forgotten.
    pub expires_at: OffsetDateTime,
}

/// The outcome for sessions that were to end.
#[derive(Debug)]
pub struct EndedSessions {
    /// The newest row of the log after it.
    pub newest: Position,
    /// The sessions that this statement has ended or logged, with the audit event of those that had time left.
    pub ended: HashMap<SessionId, Option<Event>>,
}

#[derive(sqlx::FromRow)]
struct EndedRow {
    #[sqlx(flatten)]
    head: Head,
    session_id: Option<Uuid>,
    live: Option<bool>,
    user_id: Option<Uuid>,
    username: Option<String>,
}

/// Marks sessions as ended and logs those that were not marked yet, and those that have no row. A failover or a restore
/// may have lost the row, and their tokens live (rule M2). One statement, which commits by itself, and which writes
/// whatever it finds, so that its answer is that of a database that commits (rule M1). It locks the rows of the
/// sessions in one order, and the head of the log after them.
///
/// # Errors
/// [`Error::DatabaseUnavailable`]: it may or may not have happened.
pub async fn end_sessions(conn: &mut Conn, ending: Ending<'_>) -> Result<EndedSessions, Error> {
    let Ending { sessions, operator, now, expires_at } = ending;
    let subjects: Vec<Uuid> = sessions.keys().map(|id| id.0).collect();
    let column = |value: &dyn Fn(&Cause) -> String| sessions.values().map(value).collect::<Vec<_>>();
    let ids: Vec<Uuid> = sessions.iter().map(|_| new_v7(now)).collect();
    // The head comes after the events: it is locked until the commit, and holds up everybody.
    let statement = query_as::<_, EndedRow>(
        "WITH asked AS (SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $6::text[], $7::text[], $8::text[], \
             $9::text[], $10::text[], $11::text[], $12::text[]) \
             AS a (session_id, reason, id, kind, actor, ip, user_agent, device, request_id, trace_id)), \
         due AS (SELECT s.session_id, s.epoch = u.epoch AND s.expires_at > $4 AND s.idle_expires_at > $4 AS live, \
           u.username FROM refresh_tokens s JOIN users u ON u.id = s.user_id WHERE s.session_id = ANY($1) \
           AND s.revoked_at IS NULL ORDER BY s.session_id FOR UPDATE OF s), \
         marked AS (UPDATE refresh_tokens s SET revoked_at = $4, revoked_reason = asked.reason \
           FROM due JOIN asked USING (session_id) \
           WHERE s.session_id = due.session_id RETURNING s.session_id, s.user_id, due.live, due.username, asked.reason, \
             asked.id, asked.kind, asked.actor, asked.ip, asked.user_agent, asked.device, asked.request_id, \
             asked.trace_id), \
         audited AS (INSERT INTO audit_events (id, at, kind, actor, user_id, username, session_id, reason, client_ip, \
             client_user_agent, client_device, request_id, trace_id) SELECT id, $4, kind, actor, user_id, username, \
             session_id, reason, ip, user_agent, device, request_id, trace_id FROM marked WHERE live RETURNING 1), \
         ended AS (SELECT session_id, live, user_id, username, reason, id FROM marked \
           UNION ALL SELECT session_id, false, NULL, NULL, reason, id FROM asked \
             WHERE NOT EXISTS (SELECT FROM refresh_tokens s WHERE s.session_id = asked.session_id)), \
         numbered AS (SELECT *, row_number() OVER () AS place, count(*) OVER () AS places FROM ended), \
         head AS (UPDATE revocation_head SET seq = seq + (SELECT count(*) FROM numbered), \
             id = COALESCE((SELECT n.id FROM numbered n WHERE n.place = n.places), id) \
           WHERE (SELECT count(*) FROM audited) >= 0 RETURNING seq, id), \
         logged AS (INSERT INTO revocations (seq, id, kind, subject, expires_at, revoked_at, reason) \
           SELECT head.seq - n.places + n.place, n.id, 'session', n.session_id, $5, $4, n.reason FROM head, numbered n) \
         SELECT head.seq, head.id, n.session_id, n.live, n.user_id, n.username FROM head LEFT JOIN numbered n ON true",
    )
    .bind(subjects)
    .bind(column(&|cause| cause.reason.as_str().to_owned()))
    .bind(ids)
    .bind(now)
    .bind(expires_at)
    .bind(column(&|cause| Kind::of_end(cause.reason).as_str().to_owned()))
    .bind(column(&|cause| Actor::of_end(cause.reason, operator).as_str().to_owned()))
    .bind(column(&|cause| cause.client.ip.clone()))
    .bind(column(&|cause| cause.client.user_agent.clone()))
    .bind(column(&|cause| cause.client.device.clone()))
    .bind(sessions.values().map(|cause| cause.call.request_id.as_deref()).collect::<Vec<_>>())
    .bind(sessions.values().map(|cause| cause.call.trace_id.as_deref()).collect::<Vec<_>>());
    let (mut ended, mut newest) = (HashMap::new(), None);
    for EndedRow { head, session_id, live, user_id, username } in conn.fetch_all(statement).await? {
        newest = Some(Position::from(head));
        let Some(session) = session_id.map(SessionId) else { continue };
        let user = user_id.map(UserId).zip(username.map(Username::from_stored)).filter(|_| live == Some(true));
        let event = sessions.get(&session).zip(user).map(|(cause, user)| Event {
            user: Some(user),
            session: Some(session),
            reason: cause.reason.as_str(),
            client: cause.client.clone(),
            ..Event::new(Kind::of_end(cause.reason), Actor::of_end(cause.reason, operator))
        });
        ended.insert(session, event);
    }
    let newest = newest.ok_or_else(|| Error::internal("the revocation log has no head row"))?;
    Ok(EndedSessions { newest, ended })
}

/// Deletes of the `limit` oldest rows of the log those that have expired, by `now` and by the database's clock. The
/// newest one stays always, and so do those that another replica is about to delete. Says how many.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn prune(conn: &mut Conn, now: OffsetDateTime, limit: i64) -> Result<u64, Error> {
    let statement = query(
        "DELETE FROM revocations WHERE seq IN (SELECT seq FROM (SELECT seq, expires_at FROM revocations \
           WHERE seq < (SELECT seq FROM revocation_head) ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED) oldest \
           WHERE expires_at < LEAST($1, now() - interval '1 minute'))",
    );
    conn.execute(statement.bind(now).bind(limit)).await
}

/// Locks the head of the log until the transaction ends: nobody appends meanwhile.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn lock(tx: &mut Conn) -> Result<(), Error> {
    match tx.execute(query("UPDATE revocation_head SET seq = seq")).await? {
        1 => Ok(()),
        _ => Err(Error::internal("the revocation log has no head row")),
    }
}
