//! Table `login_throttle`: how many passwords were tried, for all replicas. Counted before a password is looked at, by one
//! statement, so that attempts side by side are counted one by one. Counting waits for no disk: what a crash forgets is a
//! few attempts.

use std::time::Duration;

use sqlx::{query, query_as};
use time::OffsetDateTime;

use super::Conn;
use crate::{
    domain::throttle::{Budget, Window},
    error::Error,
};

/// A budget by its key.
#[derive(Clone, Copy, Debug)]
pub struct KeyedBudget {
    /// The key of the row.
    pub key: [u8; 32],
    /// The budget of that key.
    pub budget: Budget,
}

/// Counts one attempt in each budget. None: it may be made. Else no attempt may be made for so long, and none is counted.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
pub async fn record(conn: &mut Conn, budgets: &[KeyedBudget], now: OffsetDateTime) -> Result<Option<Duration>, Error> {
    let keys: Vec<&[u8]> = budgets.iter().map(|keyed| &keyed.key[..]).collect();
    let column = |of: fn(&Budget) -> f64| budgets.iter().map(|keyed| of(&keyed.budget)).collect::<Vec<_>>();
    let sliding: Vec<bool> = budgets.iter().map(|keyed| keyed.budget.window == Window::Sliding).collect();
    // The arithmetic of `Budget::wait_after`; a test holds both to the same answers. Without a wait there is no moment at
    // all: the clocks of replicas differ, and two attempts side by side have read theirs in any order.
    let statement = query_as::<_, (Vec<u8>,)>(
        "WITH asked AS (SELECT a.*, t.blocked_until > $1 AS blocked \
           FROM unnest($2::bytea[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::bool[]) \
             AS a (budget, free, most, longest, forgotten, sliding) LEFT JOIN login_throttle t USING (budget)), \
         charged AS (INSERT INTO login_throttle AS t (budget, attempts, blocked_until, began_at, attempted_at) \
           SELECT budget, 1, CASE WHEN 1 >= most THEN $1 + make_interval(secs => forgotten) \
             WHEN 1 < free THEN '-infinity' \
             ELSE $1 + make_interval(secs => LEAST(longest, power(2, LEAST(1 - free, 60)))) END, $1, $1 \
           FROM asked WHERE NOT EXISTS (SELECT FROM asked WHERE blocked) ORDER BY budget \
           ON CONFLICT (budget) DO UPDATE SET (attempts, blocked_until, began_at, attempted_at) = (\
             SELECT n.attempt, CASE WHEN n.attempt >= most THEN $1 + make_interval(secs => forgotten) \
               WHEN n.attempt < free THEN '-infinity' \
               ELSE $1 + make_interval(secs => LEAST(longest, power(2, LEAST(n.attempt - free, 60)))) END, \
               CASE WHEN n.anew THEN $1 ELSE t.began_at END, $1 \
             FROM asked, LATERAL (SELECT CASE WHEN sliding THEN t.attempted_at ELSE t.began_at END \
               < $1 - make_interval(secs => forgotten) AS anew) o, \
               LATERAL (SELECT o.anew, CASE WHEN o.anew THEN 1 ELSE LEAST(t.attempts + 1, 1000000) END AS attempt) n \
             WHERE asked.budget = t.budget) \
           WHERE t.blocked_until <= $1 RETURNING budget) \
         SELECT budget FROM charged, set_config('synchronous_commit', 'off', true)",
    )
    .bind(now)
    .bind(&keys)
    .bind(column(|budget| budget.free_attempts.into()))
    .bind(column(|budget| budget.max_attempts.into()))
    .bind(column(|budget| budget.max_delay.as_secs_f64()))
    .bind(column(|budget| budget.forgotten_after.as_secs_f64()))
    .bind(sliding);
    let counted = conn.fetch_all(statement).await?;
    if counted.len() == budgets.len() {
        return Ok(None);
    }
    let until = query_as::<_, (Option<OffsetDateTime>,)>(
        "SELECT max(NULLIF(blocked_until, '-infinity')) FROM login_throttle WHERE budget = ANY($1)",
    );
    let until = conn.fetch_optional(until.bind(&keys)).await?.and_then(|(until,)| until);
    // One may have been free while the other was about to be blocked by somebody else.
    let partly: Vec<KeyedBudget> =
        budgets.iter().filter(|keyed| counted.iter().any(|(key,)| key[..] == keyed.key)).copied().collect();
    if !partly.is_empty() {
        undo(conn, &partly).await?;
    }
    let wait = until.and_then(|until| Duration::try_from(until - now).ok()).unwrap_or_default();
    // In whole seconds: a microsecond too early would be refused again.
    Ok(Some(Duration::from_secs(wait.as_micros().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX).max(1))))
}

/// Forgets the attempts of the first budget after a right password, and takes the attempt back from the others.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
pub async fn reset(conn: &mut Conn, budgets: &[KeyedBudget]) -> Result<(), Error> {
    take_back(conn, budgets, 1).await
}

/// Takes back an attempt that was counted and not made.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
pub async fn undo(conn: &mut Conn, budgets: &[KeyedBudget]) -> Result<(), Error> {
    take_back(conn, budgets, 0).await
}

/// One attempt less in each budget, and none in the first `forgotten`. A wait that the attempt brought about ends; one that
/// is due without it stays. Rows are locked in the order in which [`record`] locks them.
async fn take_back(conn: &mut Conn, budgets: &[KeyedBudget], forgotten: i64) -> Result<(), Error> {
    let keys: Vec<&[u8]> = budgets.iter().map(|keyed| &keyed.key[..]).collect();
    let free: Vec<i64> = budgets.iter().map(|keyed| keyed.budget.free_attempts.into()).collect();
    let statement = query(
        "WITH held AS (SELECT t.budget, a.place <= $3 OR t.attempts <= 1 AS over, t.attempts - 1 < a.free AS unblocked \
           FROM login_throttle t JOIN unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS a (budget, free, place) \
             USING (budget) ORDER BY t.budget FOR UPDATE OF t), \
         gone AS (DELETE FROM login_throttle t USING held WHERE t.budget = held.budget AND held.over), \
         less AS (UPDATE login_throttle t SET attempts = t.attempts - 1, \
             blocked_until = CASE WHEN held.unblocked THEN '-infinity' ELSE t.blocked_until END \
           FROM held WHERE t.budget = held.budget AND NOT held.over) \
         SELECT count(*) FROM held, set_config('synchronous_commit', 'off', true)",
    );
    conn.execute(statement.bind(keys).bind(free).bind(forgotten)).await.map(drop)
}

/// Deletes up to `limit` budgets without an attempt since `before`; says how many.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn prune(conn: &mut Conn, before: OffsetDateTime, limit: i64) -> Result<u64, Error> {
    let statement = query(
        "DELETE FROM login_throttle WHERE budget IN (SELECT budget FROM login_throttle WHERE attempted_at < $1 \
           ORDER BY attempted_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    );
    conn.execute(statement.bind(before).bind(limit)).await
}
