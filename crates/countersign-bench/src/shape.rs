//! The shape of a load.

use std::time::Duration;

/// The amount of load.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Number of TCP connections.
    pub connections: usize,
    /// Number of calls under way on each connection.
    pub streams: usize,
    /// Number of threads that make the calls.
    pub threads: usize,
    /// The time at the beginning that does not count.
    pub warm_up: Duration,
    /// The time that counts.
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
