//! The protocol of revocations as pure state machines: what to send next, and what an answer means. No I/O and no clock is
//! read here; `follower.rs` and `confirm.rs` carry out what these say, and `tests/explore` walks all their interleavings
//! (docs/revocation.md has the rules and why each is needed).

mod evidence;
mod follow;
mod observe;
mod standing;

use std::time::Duration;

pub use self::{
    evidence::Evidence,
    follow::{Follow, Next, Outcome, Reply},
    observe::{Mark, Observed, Observer, Question},
    standing::Standing,
};
pub use crate::domain::replica::{Listed, Reading, Report};

/// The longest time after a connection began to be made at which a heartbeat on it still makes a state fresh, for a replica
/// with this bound (rule A1). A sixth of it, so that an address that has moved is noticed well within the bound.
pub fn connection_lifetime(bound: Duration) -> Duration {
    (bound / 6).max(Duration::from_secs(1))
}

/// The time after which no replica accepts what was revoked, where `largest` is the largest bound of any replica (rule A2).
pub fn everywhere_within(largest: Duration) -> Duration {
    largest + connection_lifetime(largest)
}
