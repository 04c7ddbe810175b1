//! Metrics of the hashing threads.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, Registry};

use super::plain::{counter, histogram};

/// Metrics of the hashing threads. All clones are one.
#[derive(Clone, Debug)]
pub struct Hashing {
    wait: Histogram,
    duration: Histogram,
    shed: IntCounter,
}

impl Hashing {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            wait: histogram(
                registry,
                "countersign_password_hash_wait_seconds",
                "Time that a password waited for a hashing thread.",
            )?,
            duration: histogram(
                registry,
                "countersign_password_hash_seconds",
                "Time that a hashing thread took for a password.",
            )?,
            shed: counter(
                registry,
                "countersign_password_hash_shed_total",
                "Passwords that were not looked at: the queue is too long for their callers' deadlines, or these had left.",
            )?,
        })
    }

    /// Records that a password waited for so long.
    pub fn waited(&self, time: Duration) {
        self.wait.observe(time.as_secs_f64());
    }

    /// Records that a password took so long.
    pub fn took(&self, time: Duration) {
        self.duration.observe(time.as_secs_f64());
    }

    /// Records that a password was not looked at.
    pub fn shed(&self) {
        self.shed.inc();
    }
}
