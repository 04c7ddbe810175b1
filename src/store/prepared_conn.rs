//! A connection that keeps its plans, for what is done often by one statement.

use std::time::Duration;

use tokio::time::Instant;

use super::{conn::Conn, health::Judgement, pool::Store};
use crate::error::Error;

/// Time for which a plan is used: the tables grow, and a plan that is made while one is empty reads all of it.
const PLANNED_FOR: Duration = Duration::from_secs(10);

/// Plans once, and as look-ups by key. They are in the order in which the sessions are given, so that two of them lock
/// rows in one order. The planner does not know how many there will be. Where it does otherwise, and where somebody
/// holds a row for long, no statement waits for it longer than this.
const SETTINGS: [(&str, &str); 6] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("lock_timeout", "50ms"),
];

/// A connection apart from the pool; none before it is entered first.
#[derive(Debug, Default)]
pub struct PreparedConn(Option<Entered>);

#[derive(Debug)]
struct Entered {
    conn: Conn,
    used: Instant,
    planned: Instant,
}

impl Store {
    /// The lane's connection if it is fit, or a new one.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn prepared<'l>(&self, lane: &'l mut PreparedConn) -> Result<&'l mut Conn, Error> {
        let now = Instant::now();
        let entered = match lane.0.take() {
            Some(last) if last.conn.is_fit() => self.again(last).await,
            _ => None,
        };
        let entered = match entered {
            Some(entered) => entered,
            None => Entered { conn: self.connect_with(&SETTINGS).await?, used: now, planned: now },
        };
        Ok(&mut lane.0.insert(entered).conn)
    }

    async fn again(&self, mut last: Entered) -> Option<Entered> {
        // A retired one was sorted out before.
        let judgement = self.health.judge(Duration::ZERO, last.used.elapsed());
        if judgement != Judgement::Fresh && !last.conn.is_alive().await {
            return None;
        }
        last.used = Instant::now();
        if last.planned.elapsed() > PLANNED_FOR {
            last.conn.forget_plans().await.ok()?;
            last.planned = last.used;
        }
        Some(last)
    }
}
