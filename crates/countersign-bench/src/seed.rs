//! Fills tables `users` and `refresh_tokens` by COPY, for `countersign-bench seed`. Constraints and foreign keys are checked
//! as for any other row.

use std::{fmt::Write as _, ops::Range, time::Duration};

use countersign_token::ids::{SessionId, UserId};
use sqlx::{Connection as _, PgConnection, query_scalar, raw_sql};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use countersign::{
    cli::Progress,
    error::Error,
    store::{Store, unavailable},
};

/// The rows of one COPY, which is a transaction. Users are spread evenly over each, in the order of their ids. So an
/// index that is larger than the memory is written in passes.
const ROWS: u64 = 250_000;
/// Bytes that are sent at once.
const PIECE: usize = 256 * 1024;
/// The oldest session was opened that long ago.
const AGES: Duration = Duration::from_secs(7 * 24 * 3600);
/// The lifetimes of sessions, as they are set by default.
const SESSION_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
const IDLE_TTL: Duration = Duration::from_secs(14 * 24 * 3600);

/// The content that a database is filled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed<'a> {
    /// Users are called by it, `-` and a number from 1.
    pub prefix: &'a str,
    /// The password hash that all users have.
    pub password_hash: &'a str,
    /// Number of users.
    pub users: u64,
    /// Number of live sessions that the users have together.
    pub sessions: u64,
    /// The time at which the content is made.
    pub now: OffsetDateTime,
}

/// Writes users and sessions, and tells the planner of them.
///
/// # Errors
/// [`Error::UsernameTaken`] when there is a user of that prefix; [`Error::DatabaseUnavailable`], with part of the rows
/// written.
pub(crate) async fn fill(store: &Store, seed: Seed<'_>, progress: &mut Progress) -> Result<(), Error> {
    let mut connection = store.connect_bare().await?;
    let taken = query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM users WHERE starts_with(username, $1))");
    if taken.bind(format!("{}-", seed.prefix)).fetch_one(&mut connection).await.map_err(unavailable)? {
        return Err(Error::UsernameTaken);
    }
    let mut users: Vec<UserId> = (0..seed.users).map(|_| UserId::new(seed.now - AGES)).collect();
    users.sort_unstable();
    for rows in chunks(seed.users) {
        let write = |text: &mut String, row| {
            progress.at(row);
            seed.user(text, &users, row)
        };
        copy(&mut connection, USERS, rows, write).await?;
    }
    for rows in chunks(seed.sessions) {
        let first = rows.start;
        let in_this = rows.end - first;
        let user = |row: u64| u128::from(row - first) * u128::from(seed.users) / u128::from(in_this);
        let write = |text: &mut String, row| {
            progress.at(seed.users + row);
            seed.session(text, &users, user(row), row)
        };
        copy(&mut connection, SESSIONS, rows, write).await?;
    }
    // Rows whose visibility is not noted yet would be noted by whoever reads them first.
    for table in ["VACUUM (ANALYZE) users", "VACUUM (ANALYZE) refresh_tokens"] {
        raw_sql(table).execute(&mut connection).await.map_err(unavailable)?;
    }
    connection.close().await.map_err(unavailable)
}

const USERS: &str = "COPY users (id, username, password_hash, roles, epoch, password_changed_at, created_at, updated_at) \
     FROM STDIN";
const SESSIONS: &str = "COPY refresh_tokens (session_id, user_id, epoch, generation, previous_generation, rotated_at, \
     created_at, expires_at, idle_expires_at, client_id, audience, client_ip, client_user_agent, client_device) FROM STDIN";

fn chunks(rows: u64) -> impl Iterator<Item = Range<u64>> {
    (0..rows.div_ceil(ROWS)).map(move |chunk| chunk * ROWS..((chunk + 1) * ROWS).min(rows))
}

/// One COPY of these rows, as `write` makes them.
async fn copy(
    connection: &mut PgConnection,
    statement: &str,
    rows: Range<u64>,
    mut write: impl FnMut(&mut String, u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut copying = connection.copy_in_raw(statement).await.map_err(unavailable)?;
    let mut text = String::with_capacity(2 * PIECE);
    for row in rows {
        write(&mut text, row)?;
        if text.len() >= PIECE {
            copying.send(text.as_bytes()).await.map_err(unavailable)?;
            text.clear();
        }
    }
    copying.send(text.as_bytes()).await.map_err(unavailable)?;
    copying.finish().await.map_err(unavailable).map(drop)
}

impl Seed<'_> {
    /// A line in the text format of COPY: columns end with tabs. Neither names nor PHC strings need to be escaped.
    fn user(&self, text: &mut String, users: &[UserId], row: u64) -> Result<(), Error> {
        let (id, at) = (user(users, row.into())?, moment(self.now - AGES)?);
        let (prefix, hash, number) = (self.prefix, self.password_hash, row + 1);
        writeln!(text, "{id}\t{prefix}-{number}\t{hash}\t{{bench}}\t0\t{at}\t{at}\t{at}").map_err(Error::internal)
    }

    /// A session of the user of that number; the sessions were opened one after the other.
    fn session(&self, text: &mut String, users: &[UserId], number: u128, row: u64) -> Result<(), Error> {
        let age = AGES.mul_f64(1.0 - row as f64 / self.sessions as f64);
        let opened = self.now - age;
        let (id, user, at) = (SessionId::new(opened), user(users, number)?, moment(opened)?);
        let (end, idle_end) = (moment(opened + SESSION_TTL)?, moment(opened + IDLE_TTL)?);
        writeln!(
            text,
            "{id}\t{user}\t0\t1\t0\t{at}\t{at}\t{end}\t{idle_end}\tdefault\t{{internal}}\t192.0.2.1\tbench\tbench"
        )
        .map_err(Error::internal)
    }
}

fn user(users: &[UserId], number: u128) -> Result<UserId, Error> {
    let found = usize::try_from(number).ok().and_then(|number| users.get(number));
    found.copied().ok_or_else(|| Error::internal("there is no user of that number"))
}

fn moment(at: OffsetDateTime) -> Result<String, Error> {
    at.format(&Rfc3339).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_all_rows_once() {
        for rows in [0, 1, ROWS, ROWS + 1, 3 * ROWS - 1] {
            let mut next = 0;
            for chunk in chunks(rows) {
                assert_eq!(chunk.start, next);
                assert!(chunk.end - chunk.start <= ROWS && !chunk.is_empty());
                next = chunk.end;
            }
            assert_eq!(next, rows);
        }
    }
}
