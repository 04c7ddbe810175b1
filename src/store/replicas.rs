//! Table `replicas`: the running servers and how far each has read the revocation log.

use std::time::Duration;

use sqlx::query_as;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Conn,
    identity::{here, log, probably_here},
    proxies::Reported,
    revocations,
};
use crate::{
    domain::{
        replica::{Listed, ListedProxies, Origin, Reading, Report},
        revocation::{LogEntry, LogIdentity, Position},
    },
    error::Error,
};

/// A replica, and the bound that it promises.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Made at the start of the process.
    pub replica: Uuid,
    /// The bound of the replica: one that has heard nothing for longer refuses to verify.
    pub max_staleness: Duration,
}

#[derive(sqlx::FromRow)]
pub(super) struct OriginRow {
    log: Option<Uuid>,
    settled: bool,
}

impl TryFrom<OriginRow> for Origin {
    type Error = Error;

    fn try_from(row: OriginRow) -> Result<Self, Error> {
        // Another replica names it at this moment, or this is another server than the one where this replica registered.
        let unnamed = || Error::DatabaseUnavailable("the log has no name yet".into());
        Ok(Self { log: LogIdentity(row.log.ok_or_else(unnamed)?), settled: row.settled })
    }
}

/// The answer to a replica's heartbeat.
#[derive(Debug)]
pub struct HeartbeatReply {
    /// The log that answered.
    pub origin: Origin,
    /// The database's wall clock, after the question and before the answer.
    pub clock: OffsetDateTime,
    /// The number of the newest row of the log.
    pub head: i64,
    /// The row that was reported, if it is there, and those after it, in order.
    pub entries: Vec<LogEntry>,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    origin: OriginRow,
    clock: OffsetDateTime,
    head: i64,
    seq: Option<i64>,
    id: Option<Uuid>,
    kind: Option<String>,
    subject: Option<Uuid>,
    epoch: Option<i64>,
    expires_at: Option<OffsetDateTime>,
}

/// The number that a report counts as: 0 in a log that does not hold the row that it names (rule M4).
macro_rules! counted {
    () => {
        "(CASE WHEN EXISTS (SELECT FROM revocations WHERE seq = $2 AND id = $3) THEN $2 ELSE 0 END)"
    };
}

/// The query of a heartbeat, and of a reading between two of them: the row that is known, and those after it.
macro_rules! news {
    ($here:ident) => {
        concat!(
            "SELECT here.log, here.settled, clock_timestamp() AS clock, h.seq AS head, r.seq, r.id, r.kind, r.subject, r.epoch, r.expires_at \
             FROM ",
            $here!(),
            " here, revocation_head h LEFT JOIN revocations r ON r.seq >= $2 ORDER BY r.seq"
        )
    };
}

/// Puts a replica on the list, so that its bound counts before it accepts the first token. Gives the log that it is on, to which
/// it gives `name` if it has none.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn register(conn: &mut Conn, member: Member, report: Report, name: Uuid) -> Result<Origin, Error> {
    let statement = query_as::<_, OriginRow>(concat!(
        "WITH named AS (INSERT INTO log_identity AS i (one, system_identifier, timeline, relation, id, settled) \
             SELECT true, h.system, h.timeline, h.relation, $6, false FROM ",
        here!(),
        " h WHERE h.log IS NULL ON CONFLICT (one) DO UPDATE SET system_identifier = EXCLUDED.system_identifier, \
             timeline = EXCLUDED.timeline, relation = EXCLUDED.relation, id = $6, settled = false \
             WHERE (i.system_identifier, i.timeline, i.relation) \
               IS DISTINCT FROM (EXCLUDED.system_identifier, EXCLUDED.timeline, EXCLUDED.relation) RETURNING i.id), \
         registered AS (INSERT INTO replicas (id, applied_seq, beats, max_staleness_ms) VALUES ($1, ",
        counted!(),
        ", $5, $4) ON CONFLICT (id) DO UPDATE SET applied_seq = EXCLUDED.applied_seq, beats = $5, max_staleness_ms = $4) \
         SELECT COALESCE((SELECT id FROM named), here.log) AS log, here.settled FROM ",
        here!(),
        " here",
    ));
    let origin = conn.fetch_optional(bind(statement, member, report).bind(name)).await?;
    origin.ok_or_else(|| Error::internal("the database does not say which it is"))?.try_into()
}

/// One statement: moves the counter, reports, and reads what is new. It commits a write, so that a primary that was cut off
/// from its synchronous standby cannot answer it (REQUIREMENTS V9).
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a row of the log that cannot be read.
pub async fn heartbeat(conn: &mut Conn, member: Member, report: Report) -> Result<HeartbeatReply, Error> {
    let statement = query_as::<_, Row>(concat!(
        "WITH beat AS (INSERT INTO replicas (id, applied_seq, beats, max_staleness_ms) VALUES ($1, ",
        counted!(),
        ", $5, $4) ON CONFLICT (id) DO UPDATE SET applied_seq = EXCLUDED.applied_seq, beats = $5) ",
        news!(here),
    ));
    heard(conn.fetch_all(bind(statement, member, report)).await?)
}

fn bind<'q, T>(statement: Statement<'q, T>, member: Member, report: Report) -> Statement<'q, T> {
    statement
        .bind(member.replica)
        .bind(report.applied.seq)
        .bind(report.applied.id)
        .bind(millis(member.max_staleness))
        .bind(report.count)
}

type Statement<'q, T> = sqlx::query::QueryAs<'q, sqlx::Postgres, T, sqlx::postgres::PgArguments>;

/// Between two heartbeats: reports, and reads what is new. Waits for no disk and no standby, and moves no counter. So a
/// crash of the database may forget it: then the replica is only waited for longer. Makes nothing fresh.
///
/// # Errors
/// As for [`heartbeat`].
pub async fn read(conn: &mut Conn, replica: Uuid, applied: Position) -> Result<HeartbeatReply, Error> {
    let statement = query_as::<_, Row>(concat!(
        "WITH mode AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), \
         report AS (UPDATE replicas SET applied_seq = ",
        counted!(),
        " FROM mode WHERE id = $1 AND applied_seq <> $2) ",
        news!(probably_here),
    ));
    heard(conn.fetch_all(statement.bind(replica).bind(applied.seq).bind(applied.id)).await?)
}

fn heard(rows: Vec<Row>) -> Result<HeartbeatReply, Error> {
    let mut rows = rows.into_iter();
    let Some(first) = rows.next() else {
        return Err(Error::internal("the revocation log has no head row"));
    };
    let (clock, head) = (first.clock, first.head);
    let origin = Origin::try_from(OriginRow { ..first.origin })?;
    let entries: Result<Vec<LogEntry>, Error> = std::iter::once(first)
        .chain(rows)
        .filter_map(|row| {
            Some(revocations::Row {
                seq: row.seq?,
                id: row.id?,
                kind: row.kind?,
                subject: row.subject,
                epoch: row.epoch,
                expires_at: row.expires_at?,
            })
        })
        .map(LogEntry::try_from)
        .collect();
    Ok(HeartbeatReply { origin, clock, head, entries: entries? })
}

/// Reads the list and the reports of proxies, as of one moment, and which of the rows that are asked for are there.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn list(conn: &mut Conn, asked: &[Position]) -> Result<Reading, Error> {
    let statement = query_as::<_, ListRow>(concat!(
        "SELECT h.*, r.id, r.applied_seq, r.beats, r.max_staleness_ms FROM (SELECT ",
        log!(),
        " AS log, array_agg(seq) AS seqs, array_agg(id) AS ids, \
         (SELECT json_agg(json_build_object('replica', replica, 'count', count, 'silent_after_ms', silent_after_ms, \
            'seqs', seqs, 'counts', counts))::text FROM proxy_reports) AS proxies FROM revocations \
         WHERE seq = ANY(ARRAY(SELECT unnest($1::bigint[])))) h \
         LEFT JOIN replicas r ON true",
    ));
    let rows = conn.fetch_all(statement.bind(asked.iter().map(|row| row.seq).collect::<Vec<_>>())).await?;
    let Some(first) = rows.first() else {
        return Err(Error::internal("the list of replicas cannot be read"));
    };
    let (log, seqs, ids) = (first.log.map(LogIdentity), first.seqs.iter().flatten(), first.ids.iter().flatten());
    let there = seqs.zip(ids).map(|(seq, id)| Position { seq: *seq, id: Some(*id) });
    let shown = there.filter(|row| asked.contains(row)).collect();
    let reported: Vec<Reported> =
        first.proxies.as_deref().map_or(Ok(Vec::new()), serde_json::from_str).map_err(Error::internal)?;
    let proxies = reported.into_iter().map(ListedProxies::try_from).collect::<Result<_, Error>>()?;
    Ok(Reading { log, replicas: rows.into_iter().filter_map(ListRow::replica).collect(), shown, proxies })
}

#[derive(sqlx::FromRow)]
struct ListRow {
    log: Option<Uuid>,
    seqs: Option<Vec<i64>>,
    ids: Option<Vec<Uuid>>,
    proxies: Option<String>,
    id: Option<Uuid>,
    applied_seq: Option<i64>,
    beats: Option<i64>,
    max_staleness_ms: Option<i64>,
}

impl ListRow {
    fn replica(self) -> Option<Listed> {
        let max_staleness = Duration::from_millis(self.max_staleness_ms?.unsigned_abs());
        Some(Listed { id: self.id?, applied_seq: self.applied_seq?, count: self.beats?, max_staleness })
    }
}

/// Takes off the list a replica whose counter has not moved since it was read. Should it live, it puts itself back.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn forget(conn: &mut Conn, replica: &Listed) -> Result<(), Error> {
    let statement = sqlx::query("DELETE FROM replicas WHERE id = $1 AND beats = $2");
    conn.execute(statement.bind(replica.id).bind(replica.count)).await.map(drop)
}

/// Takes the replica off the list, when it stops.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn leave(conn: &mut Conn, replica: Uuid) -> Result<(), Error> {
    let statement = sqlx::query("DELETE FROM replicas WHERE id = $1").bind(replica);
    conn.execute(statement).await.map(drop)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
