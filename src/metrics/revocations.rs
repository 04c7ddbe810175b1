//! Metrics of the log of revocations.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, Registry};

use super::{
    label::{Counters, Histograms, label},
    plain::{SECONDS, counter, histogram},
};

label! {
    /// The reason for which the whole log was read.
    pub FullLoad as "reason" {
        /// The replica had just started.
        Start = "start",
        /// A reading did not follow on what was known, or the database is another one.
        Gap = "gap",
    }
}

label! {
    /// The outcome of a wait for confirmation.
    Confirmed as "confirmed" {
        /// No replica accepts what was revoked.
        Yes = "true",
        /// The caller waited no longer.
        No = "false",
    }
}

/// Metrics of the log. All clones are one.
#[derive(Clone, Debug)]
pub struct Revocations {
    /// Readings of the whole log.
    pub full_loads: Counters<FullLoad>,
    confirmations: Histograms<Confirmed>,
    lag: Histogram,
    /// Times that the database was another one than before: a standby was promoted, or a backup was restored.
    pub moves: IntCounter,
    /// Revocations that the database had lost, and that were put back.
    pub put_back: IntCounter,
    /// Heartbeats that failed.
    pub failures: IntCounter,
}

impl Revocations {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            full_loads: Counters::new(
                registry,
                "countersign_revocation_full_loads_total",
                "Times that the whole log of revocations was read, by the reason.",
            )?,
            confirmations: Histograms::new(
                registry,
                "countersign_revocation_confirmation_seconds",
                "Time from the commit of a revocation until all replicas had confirmed it, or the caller waited no longer.",
                &SECONDS,
            )?,
            lag: histogram(
                registry,
                "countersign_revocation_lag_seconds",
                "Time from a revocation until this replica had read it, by the clocks of both machines.",
            )?,
            moves: counter(
                registry,
                "countersign_database_moves_total",
                "Times that the database was another one than before: a standby was promoted, or a backup was restored.",
            )?,
            put_back: counter(
                registry,
                "countersign_database_lost_revocations_total",
                "Acknowledged revocations that the database had lost. They were put back.",
            )?,
            failures: counter(
                registry,
                "countersign_revocation_follow_failures_total",
                "Times that the log of revocations could not be read, and was tried again.",
            )?,
        })
    }

    /// Records that a revocation was read so long after it was made. A clock that goes before the other makes it 0.
    pub fn read_after(&self, time: Duration) {
        self.lag.observe(time.as_secs_f64());
    }

    /// Records a wait for confirmation.
    pub fn waited(&self, time: Duration, confirmed: bool) {
        self.confirmations.observe(if confirmed { Confirmed::Yes } else { Confirmed::No }, time);
    }
}
