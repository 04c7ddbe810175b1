//! The protocol of revocations as pure state machines: what to send next, and what an answer means. No I/O and no clock
//! is read here; `follower.rs` and `confirm.rs` carry out what these say. `tests/explore` walks all their
//! interleavings, and docs/revocation.md has the rules and why each is needed.

mod bounds;
mod evidence;
mod follow;
mod observe;
mod standing;

pub use self::{
    bounds::{connection_lifetime, everywhere_within},
    evidence::Evidence,
    follow::{Follow, Next, Outcome, Reply},
    observe::{CommitPosition, Observed, Observer, Question},
    standing::Standing,
};
pub use crate::domain::replica::{Listed, Origin, Reading, Report};
