//! Metrics of the connections to the database.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, Registry};

use super::{
    label::{Histograms, label},
    plain::{SECONDS, counter, histogram},
};

label! {
    /// The outcome of a statement.
    pub StatementOutcome as "outcome" {
        /// The database has answered.
        Ok = "ok",
        /// The statement may be run again: serialization failure, deadlock, a row that somebody holds, a plan that is too old.
        Conflict = "conflict",
        /// The database did not answer, not in time, or said that it cannot.
        Unavailable = "unavailable",
        /// Nobody waited any longer.
        Cancelled = "cancelled",
        /// A defect.
        Internal = "internal",
    }
}

/// Metrics of the connections. All clones are one.
#[derive(Clone, Debug)]
pub struct Database {
    statements: Histograms<StatementOutcome>,
    waits: Histogram,
    exhausted: IntCounter,
}

impl Database {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            statements: Histograms::new(
                registry,
                "countersign_database_statement_seconds",
                "Time from sending a statement to its answer, by the outcome.",
                &SECONDS,
            )?,
            waits: histogram(
                registry,
                "countersign_database_acquire_seconds",
                "Time that a request waited for a connection of the pool.",
            )?,
            exhausted: counter(
                registry,
                "countersign_database_acquire_failures_total",
                "Requests that got no connection of the pool: not in time, or not before their callers left.",
            )?,
        })
    }

    /// Records a statement.
    pub fn answered(&self, outcome: StatementOutcome, time: Duration) {
        self.statements.observe(outcome, time);
    }

    /// Records a wait for a connection.
    pub fn acquired(&self, time: Duration, got_one: bool) {
        if got_one {
            self.waits.observe(time.as_secs_f64());
        } else {
            self.exhausted.inc();
        }
    }
}
