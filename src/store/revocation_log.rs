//! The log of revocations (table `revocations`), read in full, page by page.

use std::time::Duration;

use countersign_token::{
    ids::SessionId,
    revocation::{Revocation, Subject},
};
use sqlx::query_as;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Conn, identity::here, replicas::OriginRow, revocations::Row};
use crate::{
    domain::{
        replica::Origin,
        revocation::{LogEntry, LogIdentity, Position},
    },
    error::Error,
};

/// Number of rows that a page may have.
const PAGE: i64 = 50_000;

/// The extent of the log as of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The identity of the log.
    pub log: LogIdentity,
    /// The newest row of the log.
    pub newest: Position,
    /// True if the log holds the row that was asked for.
    pub holds_known: bool,
    /// True if confirmations count on this log: the server was not promoted or restored a moment ago.
    pub is_settled: bool,
    /// Time since the database was written to last by a running service, by its own clock.
    pub age: Duration,
    oldest: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct ExtentRow {
    #[sqlx(flatten)]
    origin: OriginRow,
    holds_known: bool,
    age: f64,
    head: i64,
    newest: Option<Uuid>,
    oldest: Option<i64>,
}

impl Extent {
    /// Largest number of rows that there are.
    pub fn rows(self) -> usize {
        self.oldest.map_or(0, |oldest| usize::try_from(self.newest.seq - oldest + 1).unwrap_or(0))
    }
}

/// The beginning and end of the log now; says too if it holds the row `known`.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn extent(conn: &mut Conn, known: Position) -> Result<Extent, Error> {
    let statement = query_as::<_, ExtentRow>(concat!(
        "SELECT here.log, here.settled, EXISTS (SELECT FROM revocations WHERE seq = $1 AND id = $2) AS holds_known, \
           (SELECT extract(epoch FROM now() - moved_at)::float8 FROM service_clock) AS age, h.seq AS head, (SELECT id FROM revocations r WHERE r.seq = h.seq) AS newest, \
           (SELECT min(seq) FROM revocations) AS oldest FROM revocation_head h, ",
        here!(),
        " here",
    ));
    let Some(row) = conn.fetch_optional(statement.bind(known.seq).bind(known.id)).await? else {
        return Err(Error::internal("the revocation log has no head row"));
    };
    let Origin { log, settled } = row.origin.try_into()?;
    Ok(Extent {
        log,
        newest: Position { seq: row.head, id: row.newest },
        holds_known: row.holds_known || known == Position::default(),
        is_settled: settled,
        age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
        oldest: row.oldest,
    })
}

/// Gives what the rows after `after` say up to the end of `extent`, in no order. Expired ones too: this replica's clock
/// may be wrong today and right tomorrow. Reads page by page, so that a long log takes many short statements. What is
/// below a number that was seen is complete, so the pages need no common snapshot. While a page is taken, the database
/// reads the next.
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a row that cannot be read.
pub async fn read(
    conn: &mut Conn,
    extent: Extent,
    after: i64,
    mut take: impl FnMut(Vec<Revocation>),
) -> Result<(), Error> {
    let Extent { newest: Position { seq: head, .. }, oldest, .. } = extent;
    let mut read = oldest.map_or(head, |oldest| after.max(oldest - 1));
    let mut page = Vec::new();
    while read < head {
        let upto = head.min(read.saturating_add(PAGE));
        let last = std::mem::take(&mut page);
        let (next, ()) = tokio::join!(biased; read_page(conn, read, upto), async { take(last) });
        page = next?;
        read = upto;
    }
    take(page);
    Ok(())
}

/// Loads the rows after `after`, and says where the log ended.
///
/// # Errors
/// As for [`read`].
pub async fn load(conn: &mut Conn, after: i64) -> Result<(Extent, Vec<Revocation>), Error> {
    let extent = extent(conn, Position::default()).await?;
    let mut revocations = Vec::new();
    read(conn, extent, after, |page| revocations.extend(page)).await?;
    Ok((extent, revocations))
}

/// Nearly all rows end a session: those come as two columns, which costs half of what rows cost, here and in the database.
async fn read_page(conn: &mut Conn, after: i64, upto: i64) -> Result<Vec<Revocation>, Error> {
    let mut revocations = Vec::new();
    let sessions = query_as::<_, (Option<Vec<Uuid>>, Option<Vec<OffsetDateTime>>)>(
        "SELECT array_agg(subject), array_agg(expires_at) FROM revocations \
         WHERE kind = 'session' AND epoch IS NULL AND seq > $1 AND seq <= $2",
    );
    if let Some((Some(ids), Some(expiries))) = conn.fetch_optional(sessions.bind(after).bind(upto)).await? {
        let subjects = ids.into_iter().map(|id| Subject::Session(SessionId(id)));
        revocations.extend(subjects.zip(expiries).map(|(subject, expires_at)| Revocation { subject, expires_at }));
    }
    let others = query_as::<_, Row>(
        "SELECT seq, id, kind, subject, epoch, expires_at FROM revocations \
         WHERE NOT (kind = 'session' AND epoch IS NULL) AND seq > $1 AND seq <= $2",
    );
    for row in conn.fetch_all(others.bind(after).bind(upto)).await? {
        revocations.push(LogEntry::try_from(row)?.revocation);
    }
    Ok(revocations)
}
