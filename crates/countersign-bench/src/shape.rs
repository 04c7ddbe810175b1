//! The shape of a load.

use std::time::Duration;

/// How much load.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// TCP connections.
    pub connections: usize,
    /// Calls under way on each of them.
    pub streams: usize,
    /// Threads that make them.
    pub threads: usize,
    /// What does not count, first.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
    /// Calls a second of an open loop; a closed loop without it.
    pub rate: Option<f64>,
}

impl Shape {
    /// No more threads than connections.
    pub(super) fn threads(&self) -> usize {
        self.threads.clamp(1, self.connections)
    }

    /// All streams together.
    pub(crate) fn callers(&self) -> usize {
        self.connections * self.streams
    }
}
