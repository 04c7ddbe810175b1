//! Table `login_throttle`: how many passwords were tried, for all replicas. Counted before a password is looked at, by one
//! statement, so that attempts side by side are counted one by one. Counting waits for no disk: what a crash forgets is a
//! few attempts.

use std::time::Duration;

use sqlx::{query, query_as};
use time::OffsetDateTime;

use super::Conn;
use crate::{domain::throttle::Budget, error::Error};

/// A budget by its key.
#[derive(Clone, Copy, Debug)]
pub struct KeyedBudget {
    /// The key of the row.
    pub key: [u8; 32],
    /// The budget of that key.
    pub budget: Budget,
}

/// An attempt, and the budgets against which it counts.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The budgets, each once.
    pub budgets: Vec<KeyedBudget>,
    /// The key of the one whose attempts were all made by whoever makes this one, as far as can be known.
    pub own: Option<[u8; 32]>,
    /// Moment at which it is made.
    pub at: OffsetDateTime,
}

/// Counts an attempt in each of its budgets. None: it may be made. Else no attempt may be made for so long, and none is
/// counted.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
pub async fn record(conn: &mut Conn, attempt: &Attempt) -> Result<Option<Duration>, Error> {
    let Attempt { budgets, at, .. } = attempt;
    let keys: Vec<&[u8]> = budgets.iter().map(|keyed| &keyed.key[..]).collect();
    let column = |of: fn(&Budget) -> f64| budgets.iter().map(|keyed| of(&keyed.budget)).collect::<Vec<_>>();
    // The arithmetic of `Budget::wait_after`; a test holds both to the same answers. Without a wait there is no moment at
    // all: the clocks of replicas differ, and two attempts side by side have read theirs in any order.
    let statement = query_as::<_, (Vec<u8>,)>(
        "WITH asked AS (SELECT a.*, t.blocked_until > $1 AS blocked \
           FROM unnest($2::bytea[], $3::float8[], $4::float8[], $5::float8[], $6::float8[]) \
             AS a (budget, free, most, longest, forgotten) LEFT JOIN login_throttle t USING (budget)), \
         counted AS (INSERT INTO login_throttle AS t (budget, attempts, blocked_until, began_at, attempted_at) \
           SELECT budget, 1, CASE WHEN 1 >= most THEN $1 + make_interval(secs => forgotten) \
             WHEN 1 < free THEN '-infinity' \
             ELSE $1 + make_interval(secs => LEAST(longest, power(2, LEAST(1 - free, 60)))) END, $1, $1 \
           FROM asked WHERE NOT EXISTS (SELECT FROM asked WHERE blocked) ORDER BY budget \
           ON CONFLICT (budget) DO UPDATE SET (attempts, blocked_until, began_at, attempted_at) = (\
             SELECT n.attempt, CASE WHEN n.attempt >= most THEN n.began_at + make_interval(secs => forgotten) \
               WHEN n.attempt < free THEN '-infinity' \
               ELSE $1 + make_interval(secs => LEAST(longest, power(2, LEAST(n.attempt - free, 60)))) END, \
               n.began_at, $1 \
             FROM asked, LATERAL (SELECT t.began_at <= $1 - make_interval(secs => forgotten) AS anew) o, \
               LATERAL (SELECT CASE WHEN o.anew THEN $1 ELSE t.began_at END AS began_at, \
                 CASE WHEN o.anew THEN 1 ELSE LEAST(t.attempts + 1, 1000000) END AS attempt) n \
             WHERE asked.budget = t.budget) \
           WHERE t.blocked_until <= $1 RETURNING budget) \
         SELECT budget FROM counted, set_config('synchronous_commit', 'off', true)",
    )
    .bind(at)
    .bind(&keys)
    .bind(column(|budget| budget.free_attempts.into()))
    .bind(column(|budget| budget.max_attempts.into()))
    .bind(column(|budget| budget.max_delay.as_secs_f64()))
    .bind(column(|budget| budget.forgotten_after.as_secs_f64()));
    let counted = conn.fetch_all(statement).await?;
    if counted.len() == budgets.len() {
        return Ok(None);
    }
    let until = query_as::<_, (Option<OffsetDateTime>,)>(
        "SELECT max(NULLIF(blocked_until, '-infinity')) FROM login_throttle WHERE budget = ANY($1)",
    );
    let until = conn.fetch_optional(until.bind(&keys)).await?.and_then(|(until,)| until);
    // One may have been free while the other was about to be blocked by somebody else.
    let is_counted = |keyed: &&KeyedBudget| counted.iter().any(|(key,)| key[..] == keyed.key);
    let partly: Vec<KeyedBudget> = budgets.iter().filter(is_counted).copied().collect();
    if !partly.is_empty() {
        undo(conn, &Attempt { budgets: partly, ..attempt.clone() }).await?;
    }
    let wait = until.and_then(|until| Duration::try_from(until - *at).ok()).unwrap_or_default();
    // In whole seconds: a microsecond too early would be refused again.
    Ok(Some(Duration::from_secs(wait.as_micros().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX).max(1))))
}

/// Takes back what whoever made the attempt has counted so far, because the password was right. The attempts of others stay,
/// and so the budgets are as if it had never made one.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
pub async fn reset(conn: &mut Conn, attempt: &Attempt) -> Result<(), Error> {
    take_back(conn, attempt, attempt.own).await
}

/// Takes back an attempt that was counted and not made.
///
/// # Errors
/// [`Error::DatabaseUnavailable`], [`Error::Conflict`].
pub async fn undo(conn: &mut Conn, attempt: &Attempt) -> Result<(), Error> {
    take_back(conn, attempt, None).await
}

/// Takes from each budget as many attempts as `own` has, or one. A wait that the last attempt brought about ends if this was
/// the last. A budget that began anew since `own` began loses one: it is not known which of the attempts it has. Rows are
/// locked in the order in which [`record`] locks them.
async fn take_back(conn: &mut Conn, attempt: &Attempt, own: Option<[u8; 32]>) -> Result<(), Error> {
    let keys: Vec<&[u8]> = attempt.budgets.iter().map(|keyed| &keyed.key[..]).collect();
    let free: Vec<i64> = attempt.budgets.iter().map(|keyed| keyed.budget.free_attempts.into()).collect();
    let statement = query(
        "WITH held AS (SELECT t.*, a.free FROM login_throttle t \
           JOIN unnest($1::bytea[], $2::bigint[]) AS a (budget, free) USING (budget) ORDER BY t.budget FOR UPDATE OF t), \
         left_over AS (SELECT h.*, h.attempts - COALESCE((SELECT o.attempts FROM held o \
             WHERE o.budget = $3 AND o.began_at >= h.began_at), 1) AS rest FROM held h), \
         gone AS (DELETE FROM login_throttle t USING left_over l WHERE t.budget = l.budget AND l.rest <= 0), \
         less AS (UPDATE login_throttle t SET attempts = l.rest, \
             blocked_until = CASE WHEN l.rest < l.free OR l.attempted_at = $4 THEN '-infinity' ELSE t.blocked_until END \
           FROM left_over l WHERE t.budget = l.budget AND l.rest > 0) \
         SELECT count(*) FROM held, set_config('synchronous_commit', 'off', true)",
    );
    let statement = statement.bind(keys).bind(free).bind(own.as_ref().map(|own| &own[..])).bind(attempt.at);
    conn.execute(statement).await.map(drop)
}

/// Forgets all attempts of a budget.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn forget(conn: &mut Conn, key: &[u8; 32]) -> Result<(), Error> {
    conn.execute(query("DELETE FROM login_throttle WHERE budget = $1").bind(&key[..])).await.map(drop)
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
