//! Whether replicas wake each other.

use clap::ValueEnum;

/// The choice whether revocations are announced by NOTIFY. A hint that is lost costs time, never correctness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hints {
    /// Announce them.
    On,
    /// Replicas poll.
    Off,
}

impl Hints {
    /// True if they are announced.
    pub fn are_on(self) -> bool {
        self == Self::On
    }
}
