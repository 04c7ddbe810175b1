//! Health of the connections together: when one failed last, and which are retired.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::retirement::{Generation, Retirement};
use crate::{
    metrics::{Database, Label as _, StatementOutcome},
    trace::Child,
};

/// A connection that was idle for longer, or since before another one failed, is tried before it is used.
const RESTED: Duration = Duration::from_secs(1);

/// Time before all connections are retired again because one was of no use any more. A statement that fails this way on
/// each connection, however new, must not close them all each time.
const STALE_AGAIN: Duration = Duration::from_secs(10);

/// The health of the connections of a store.
#[derive(Debug)]
pub(super) struct Health {
    failed: Mutex<Option<Instant>>,
    retirement: Retirement,
    /// Number of times that there was reason to ask if the host is still the right one.
    doubts: AtomicU64,
    metrics: OnceLock<Database>,
}

impl Health {
    pub(super) fn new() -> Self {
        let (failed, retirement, doubts) = (Mutex::new(None), Retirement::none(), AtomicU64::new(1));
        Self { failed, retirement, doubts, metrics: OnceLock::new() }
    }

    /// Records from now on what the connections do.
    pub(super) fn measure(&self, metrics: Database) {
        self.metrics.get_or_init(|| metrics);
    }

    /// Records a statement from now to its end, with its span.
    pub(super) fn time_statement(self: &Arc<Self>, span: Child) -> Timed {
        self.time(What::Statement(StatementOutcome::Cancelled), span)
    }

    /// Records a wait for a connection of the pool from now to its end.
    pub(super) fn time_wait(self: &Arc<Self>) -> Timed {
        self.time(What::Wait { got_one: false }, Child::begin("acquire connection"))
    }

    fn time(self: &Arc<Self>, what: What, span: Child) -> Timed {
        Timed { health: Arc::clone(self), begun: Instant::now(), what, span }
    }

    /// A connection has failed.
    pub(super) fn note_failure(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.doubt();
    }

    /// Judges a connection that is so old, and was used so long ago. It may be used or not, and if so, tried first or
    /// untried.
    pub(super) fn judge(&self, age: Duration, rested: Duration) -> Judgement {
        let last = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.retirement.spares(age) {
            Judgement::Retired
        } else if rested < RESTED && last.is_none_or(|last| last.elapsed() > rested) {
            Judgement::Fresh
        } else {
            Judgement::Rested
        }
    }

    pub(super) fn begin(&self) -> Generation {
        self.retirement.begin()
    }

    pub(super) fn retire(&self) {
        self.retirement.retire();
    }

    /// Retires all unless that was done a moment ago.
    pub(super) fn retire_stale(&self) {
        self.retirement.retire_unless_within(STALE_AGAIN);
    }

    pub(super) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }
}

/// Something that is recorded when it ends, also if it is dropped in the middle.
pub(super) struct Timed {
    health: Arc<Health>,
    begun: Instant,
    what: What,
    span: Child,
}

enum What {
    Statement(StatementOutcome),
    Wait { got_one: bool },
}

impl Timed {
    /// Ends a statement.
    pub(super) fn answered(mut self, outcome: StatementOutcome) {
        self.what = What::Statement(outcome);
    }

    /// Ends a wait.
    pub(super) fn acquired(mut self, got_one: bool) {
        self.what = What::Wait { got_one };
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        match self.what {
            What::Statement(StatementOutcome::Ok) | What::Wait { got_one: true } => {}
            What::Statement(outcome) => self.span.fail(outcome.as_str()),
            What::Wait { got_one: false } => self.span.fail("unavailable"),
        }
        let Some(metrics) = self.health.metrics.get() else {
            return;
        };
        match self.what {
            What::Statement(outcome) => metrics.answered(outcome, self.begun.elapsed()),
            What::Wait { got_one } => metrics.acquired(self.begun.elapsed(), got_one),
        }
    }
}

/// The ways to use a connection that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The connection is used as it is.
    Fresh,
    /// The connection is tried first.
    Rested,
    /// The connection is closed.
    Retired,
}
