//! Tables `revocations` and `revocation_head`: the log that every verifier follows.
//!
//! The number of a row is taken under the lock of the head row, which is held until the commit: so numbers become
//! visible in their order and without gaps (a sequence would give neither).

use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Conn;
use crate::{
    domain::{
        ids::{SessionId, UserId, new_v7},
        revocation::{LogEntry, Reason, Revocation, Subject},
    },
    error::Error,
};

/// The channel of the hint that follows a commit. A hint that is lost costs time, never correctness.
pub(super) const CHANNEL: &str = "countersign_revocations";

/// How many rows a page of the log may have.
const PAGE: i64 = 50_000;

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
            _ => {
                return Err(Error::internal(format!("revocation {} cannot be read", row.seq)));
            }
        };
        let expires_at = row.expires_at;
        Ok(Self { seq: row.seq, id: row.id, revocation: Revocation { subject, expires_at } })
    }
}

/// Appends to the log and keeps its head locked until the transaction ends, so it comes last.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn append(tx: &mut Conn, revocations: &[(Revocation, Reason)], now: OffsetDateTime) -> Result<(), Error> {
    let (mut kinds, mut subjects, mut epochs) = (Vec::new(), Vec::new(), Vec::new());
    for (revocation, _) in revocations {
        let (kind, subject, epoch) = match revocation.subject {
            Subject::Session(id) => ("session", Some(id.0), None),
            Subject::User(id, epoch) => ("user", Some(id.0), Some(epoch)),
            Subject::Keys => ("key", None, None),
        };
        kinds.push(kind);
        subjects.push(subject);
        epochs.push(epoch);
    }
    let ids: Vec<Uuid> = revocations.iter().map(|_| new_v7(now)).collect();
    let expiries: Vec<OffsetDateTime> = revocations.iter().map(|(r, _)| r.expires_at).collect();
    let reasons: Vec<&str> = revocations.iter().map(|(_, reason)| reason.as_str()).collect();
    let count = i64::try_from(revocations.len()).map_err(Error::internal)?;
    let statement = query(
        "WITH head AS (UPDATE revocation_head SET seq = seq + $1 RETURNING seq) \
         INSERT INTO revocations (seq, id, kind, subject, epoch, expires_at, revoked_at, reason) \
         SELECT head.seq - $1 + n.place, n.id, n.kind, n.subject, n.epoch, n.expires_at, $7, n.reason \
         FROM head, unnest($2::uuid[], $3::text[], $4::uuid[], $5::bigint[], $6::timestamptz[], $8::text[]) \
           WITH ORDINALITY AS n (id, kind, subject, epoch, expires_at, reason, place)",
    )
    .bind(count)
    .bind(ids)
    .bind(kinds)
    .bind(subjects)
    .bind(epochs)
    .bind(expiries)
    .bind(now)
    .bind(reasons);
    match tx.execute(statement).await? {
        rows if rows == revocations.len() as u64 => Ok(()),
        _ => Err(Error::internal("the revocation log has no head row")),
    }
}

/// Wakes the followers. After the commit, because a NOTIFY inside a transaction ends group commit.
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; the followers then notice at their next poll.
pub async fn announce(conn: &mut Conn) -> Result<(), Error> {
    conn.execute(query("SELECT pg_notify($1, '')").bind(CHANNEL)).await.map(drop)
}

/// The rows after `after` up to the newest one, whose number it gives: those that have not expired by `now`, and the
/// newest itself. Page by page, so that a long log takes many short statements; what is below a number that was seen is
/// complete, so the pages need no common snapshot.
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a row that cannot be read.
pub async fn load(conn: &mut Conn, after: i64, now: OffsetDateTime) -> Result<(i64, Vec<LogEntry>), Error> {
    let ends =
        query_as::<_, (i64, Option<i64>)>("SELECT h.seq, (SELECT min(seq) FROM revocations) FROM revocation_head h");
    let Some((head, oldest)) = conn.fetch_optional(ends).await? else {
        return Err(Error::internal("the revocation log has no head row"));
    };
    let (mut read, mut entries) = (oldest.map_or(head, |oldest| after.max(oldest - 1)), Vec::new());
    while read < head {
        let upto = head.min(read.saturating_add(PAGE));
        let statement = query_as::<_, Row>(
            "SELECT seq, id, kind, subject, epoch, expires_at FROM revocations \
             WHERE seq > $1 AND seq <= $2 AND (expires_at > $3 OR seq = $4) ORDER BY seq",
        )
        .bind(read)
        .bind(upto)
        .bind(now)
        .bind(head);
        for row in conn.fetch_all(statement).await? {
            entries.push(LogEntry::try_from(row)?);
        }
        read = upto;
    }
    Ok((head, entries))
}

/// Deletes of the `limit` oldest rows of the log those that have expired by `now`, never the newest one, and none that another replica
/// is about to delete; says how many.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn prune(conn: &mut Conn, now: OffsetDateTime, limit: i64) -> Result<u64, Error> {
    let statement = query(
        "DELETE FROM revocations WHERE seq IN (SELECT seq FROM (SELECT seq, expires_at FROM revocations \
           WHERE seq < (SELECT seq FROM revocation_head) ORDER BY seq LIMIT $2 FOR UPDATE SKIP LOCKED) oldest \
           WHERE expires_at < $1)",
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
