//! Times that follow from the bound of promise P1.

use std::time::Duration;

/// Age of a connection, from when it began to be made, up to which a heartbeat on it makes a state fresh (rule A1). A
/// sixth of the replica's bound, so that an address that has moved is noticed well within the bound.
pub fn connection_lifetime(bound: Duration) -> Duration {
    (bound / 6).max(Duration::from_secs(1))
}

/// The time after which no replica accepts what was revoked, where `largest` is the largest bound of any replica (rule A2).
pub fn everywhere_within(largest: Duration) -> Duration {
    largest + connection_lifetime(largest)
}
