//! Table `login_throttle`: how many passwords were tried, for all replicas. Charged before a password is looked at, by one
//! statement, so that attempts side by side are counted one by one. Nothing here waits for the disk: what a crash forgets
//! is a few attempts.

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
pub struct Charge {
    /// The key.
    pub key: [u8; 32],
    /// What it allows.
    pub budget: Budget,
}

/// Counts one attempt in each budget. None: it may be made. Else no attempt may be made for so long, and none was counted
/// where one may not be made.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn charge(conn: &mut Conn, charges: &[Charge], now: OffsetDateTime) -> Result<Option<Duration>, Error> {
    let mut charges = charges.to_vec();
    // Rows are locked in this order.
    charges.sort_unstable_by_key(|charge| charge.key);
    let keys: Vec<&[u8]> = charges.iter().map(|charge| &charge.key[..]).collect();
    let column = |of: fn(&Budget) -> f64| charges.iter().map(|charge| of(&charge.budget)).collect::<Vec<_>>();
    let sliding: Vec<bool> = charges.iter().map(|charge| charge.budget.window == Window::Sliding).collect();
    // The arithmetic of `Budget::wait_after`; a test holds both to the same answers.
    let statement = query_as::<_, (i64,)>(
        "WITH asked AS (SELECT a.*, t.blocked_until > $1 AS blocked \
           FROM unnest($2::bytea[], $3::float8[], $4::float8[], $5::float8[], $6::float8[], $7::bool[]) \
             AS a (budget, free, most, longest, forgotten, sliding) LEFT JOIN login_throttle t USING (budget)), \
         charged AS (INSERT INTO login_throttle AS t (budget, attempts, blocked_until, began_at, attempted_at) \
           SELECT budget, 1, $1 + make_interval(secs => CASE WHEN 1 >= most THEN forgotten WHEN 1 < free THEN 0 \
             ELSE LEAST(longest, power(2, LEAST(1 - free, 60))) END), $1, $1 \
           FROM asked WHERE NOT EXISTS (SELECT FROM asked WHERE blocked) ORDER BY budget \
           ON CONFLICT (budget) DO UPDATE SET (attempts, blocked_until, began_at, attempted_at) = (\
             SELECT n.attempt, $1 + make_interval(secs => CASE WHEN n.attempt >= most THEN forgotten \
               WHEN n.attempt < free THEN 0 ELSE LEAST(longest, power(2, LEAST(n.attempt - free, 60))) END), \
               CASE WHEN n.anew THEN $1 ELSE t.began_at END, $1 \
             FROM asked, LATERAL (SELECT CASE WHEN sliding THEN t.attempted_at ELSE t.began_at END \
               < $1 - make_interval(secs => forgotten) AS anew) o, \
               LATERAL (SELECT o.anew, CASE WHEN o.anew THEN 1 ELSE LEAST(t.attempts + 1, 1000000) END AS attempt) n \
             WHERE asked.budget = t.budget) \
           WHERE t.blocked_until <= $1 RETURNING 1) \
         SELECT count(*) FROM charged, set_config('synchronous_commit', 'off', true)",
    )
    .bind(now)
    .bind(&keys)
    .bind(column(|budget| budget.free.into()))
    .bind(column(|budget| budget.most.into()))
    .bind(column(|budget| budget.longest.as_secs_f64()))
    .bind(column(|budget| budget.forgotten_after.as_secs_f64()))
    .bind(sliding);
    let counted = conn.fetch_optional(statement).await?.map_or(0, |(count,)| count);
    if usize::try_from(counted).map_err(Error::internal)? == charges.len() {
        return Ok(None);
    }
    let until = query_as::<_, (Option<OffsetDateTime>,)>(
        "SELECT max(blocked_until) FROM login_throttle WHERE budget = ANY($1)",
    );
    let until = conn.fetch_optional(until.bind(&keys)).await?.and_then(|(until,)| until);
    let wait = until.and_then(|until| Duration::try_from(until - now).ok()).unwrap_or_default();
    // In whole seconds: a microsecond too early would be refused again.
    Ok(Some(Duration::from_secs(wait.as_micros().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX))))
}

/// After a right password: forgets the attempts of one budget, and takes back the attempt that was charged to another.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn forgive(conn: &mut Conn, forgotten: &[u8; 32], refunded: Option<&Charge>) -> Result<(), Error> {
    let statement = query(
        "WITH forgotten AS (DELETE FROM login_throttle WHERE budget = $1), \
         refunded AS (UPDATE login_throttle SET attempts = attempts - 1, \
             blocked_until = CASE WHEN attempts - 1 < $3 THEN attempted_at ELSE blocked_until END \
           WHERE budget = $2 AND attempts > 0) \
         SELECT set_config('synchronous_commit', 'off', true)",
    )
    .bind(&forgotten[..])
    .bind(refunded.map(|charge| &charge.key[..]))
    .bind(refunded.map(|charge| i64::from(charge.budget.free)));
    conn.execute(statement).await.map(drop)
}

/// Takes back an attempt that was charged and not made.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn refund(conn: &mut Conn, keys: &[[u8; 32]]) -> Result<(), Error> {
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
    let statement = query(
        "UPDATE login_throttle t SET attempts = t.attempts - 1, blocked_until = t.attempted_at \
         FROM (SELECT budget FROM login_throttle WHERE budget = ANY($1) AND attempts > 0 ORDER BY budget FOR UPDATE) due \
         WHERE t.budget = due.budget",
    );
    conn.execute(statement.bind(keys)).await.map(drop)
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
