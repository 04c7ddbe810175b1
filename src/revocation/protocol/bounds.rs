//! Times that follow from the bound of promise P1.

use std::time::Duration;

/// The longest time after a connection began to be made at which a heartbeat on it still makes a state fresh. It is
/// that of a replica with this bound (rule A1). A sixth of it, so that an address that has moved is noticed well within
/// the bound.
pub fn connection_lifetime(bound: Duration) -> Duration {
    (bound / 6).max(Duration::from_secs(1))
}

/// The time after which no replica accepts what was revoked, where `largest` is the largest bound of any replica (rule A2).
pub fn everywhere_within(largest: Duration) -> Duration {
    largest + connection_lifetime(largest)
}
