//! Table `replicas`: the running servers and how far each has read the revocation log.

use std::time::Duration;

use sqlx::query_as;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Conn, revocations};
use crate::{domain::revocation::LogEntry, error::Error};

/// What a replica says of itself with each beat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    /// Made at the start of the process.
    pub replica: Uuid,
    /// The newest row of the log that it has applied.
    pub applied_seq: i64,
    /// How many beats it has sent: its counter.
    pub count: i64,
    /// It refuses to verify when it has heard nothing for longer than this.
    pub max_staleness: Duration,
}

/// What a replica hears with each beat.
#[derive(Debug)]
pub struct Heard {
    /// The number of the newest row of the log.
    pub head: i64,
    /// The row of `applied_seq`, if it is there, and those after it, in order.
    pub entries: Vec<LogEntry>,
}

#[derive(sqlx::FromRow)]
struct Row {
    head: i64,
    seq: Option<i64>,
    id: Option<Uuid>,
    kind: Option<String>,
    subject: Option<Uuid>,
    epoch: Option<i64>,
    expires_at: Option<OffsetDateTime>,
}

/// Puts a replica on the list, so that its bound counts before it accepts the first token.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn register(conn: &mut Conn, beat: Beat) -> Result<(), Error> {
    let statement = sqlx::query(
        "INSERT INTO replicas (id, applied_seq, beats, max_staleness_ms) VALUES ($1, $2, $4, $3) \
         ON CONFLICT (id) DO UPDATE SET applied_seq = $2, beats = $4, max_staleness_ms = $3",
    )
    .bind(beat.replica)
    .bind(beat.applied_seq)
    .bind(millis(beat.max_staleness))
    .bind(beat.count);
    conn.execute(statement).await.map(drop)
}

/// One statement: moves the counter, reports, and reads what is new. It commits a write, so that a primary that was cut off from its
/// synchronous standby cannot answer it (REQUIREMENTS V9).
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a row of the log that cannot be read.
pub async fn beat(conn: &mut Conn, beat: Beat) -> Result<Heard, Error> {
    let statement = query_as::<_, Row>(
        "WITH beat AS (INSERT INTO replicas (id, applied_seq, beats, max_staleness_ms) VALUES ($1, $2, $4, $3) \
           ON CONFLICT (id) DO UPDATE SET applied_seq = $2, beats = $4) \
         SELECT h.seq AS head, r.seq, r.id, r.kind, r.subject, r.epoch, r.expires_at \
         FROM revocation_head h LEFT JOIN revocations r ON r.seq >= $2 ORDER BY r.seq",
    )
    .bind(beat.replica)
    .bind(beat.applied_seq)
    .bind(millis(beat.max_staleness))
    .bind(beat.count);
    heard(conn.fetch_all(statement).await?)
}

/// Between two beats: reports, and reads what is new. Waits for no disk and no standby, and moves no counter, so that a
/// crash of the database may forget it: then the replica is only waited for longer. Makes nothing fresh.
///
/// # Errors
/// As for [`beat`].
pub async fn read(conn: &mut Conn, replica: Uuid, applied_seq: i64) -> Result<Heard, Error> {
    let statement = query_as::<_, Row>(
        "WITH report AS (UPDATE replicas SET applied_seq = $2 WHERE id = $1 AND applied_seq <> $2) \
         SELECT h.seq AS head, r.seq, r.id, r.kind, r.subject, r.epoch, r.expires_at \
         FROM set_config('synchronous_commit', 'off', true), revocation_head h \
         LEFT JOIN revocations r ON r.seq >= $2 ORDER BY r.seq",
    );
    heard(conn.fetch_all(statement.bind(replica).bind(applied_seq)).await?)
}

fn heard(rows: Vec<Row>) -> Result<Heard, Error> {
    let head = rows.first().map(|row| row.head);
    let entries: Result<Vec<LogEntry>, Error> = rows
        .into_iter()
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
    let head = head.ok_or_else(|| Error::internal("the revocation log has no head row"))?;
    Ok(Heard { head, entries: entries? })
}

/// A replica as it stands on the list.
#[derive(Clone, Copy, Debug)]
pub struct Replica {
    /// Made at the start of its process.
    pub id: Uuid,
    /// The newest row of the log that it has applied.
    pub applied_seq: i64,
    /// How many beats it has sent.
    pub beats: i64,
    /// It refuses to verify when it has heard nothing for longer than this.
    pub max_staleness: Duration,
}

/// The list, and how far the log goes, as of one moment.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The number of the newest row of the log.
    pub head: i64,
    /// All replicas.
    pub replicas: Vec<Replica>,
}

/// Reads the list.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn list(conn: &mut Conn) -> Result<Listing, Error> {
    let statement = query_as::<_, (i64, Option<Uuid>, Option<i64>, Option<i64>, Option<i64>)>(
        "SELECT h.seq, r.id, r.applied_seq, r.beats, r.max_staleness_ms FROM revocation_head h LEFT JOIN replicas r ON true",
    );
    let rows = conn.fetch_all(statement).await?;
    let head = rows.first().map(|(head, ..)| *head);
    let replica = |(_, id, applied_seq, beats, bound): (i64, Option<Uuid>, Option<i64>, Option<i64>, Option<i64>)| {
        let max_staleness = Duration::from_millis(bound?.unsigned_abs());
        Some(Replica { id: id?, applied_seq: applied_seq?, beats: beats?, max_staleness })
    };
    let head = head.ok_or_else(|| Error::internal("the revocation log has no head row"))?;
    Ok(Listing { head, replicas: rows.into_iter().filter_map(replica).collect() })
}

/// Takes off the list a replica whose counter has not moved since it was read. Should it live, it puts itself back.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn forget(conn: &mut Conn, replica: &Replica) -> Result<(), Error> {
    let statement = sqlx::query("DELETE FROM replicas WHERE id = $1 AND beats = $2");
    conn.execute(statement.bind(replica.id).bind(replica.beats)).await.map(drop)
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
