//! Revocations, and the time for which they matter.

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    ids::{SessionId, UserId},
    moment::saturating_add,
};

/// The longest lifetime that an access token may be given, in any deployment.
pub const MAX_ACCESS_TOKEN_TTL: Duration = Duration::from_secs(3600);

/// The most by which the clocks of two machines may stand apart before a revoked token could outlive its revocation.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// The largest bound that a deployment may set: no replica accepts a revoked token for longer, whatever is broken.
pub const MAX_STALENESS: Duration = Duration::from_secs(300);

/// The time for which a revocation is kept: no token that it matches is accepted by any replica's clock after that.
pub const RETENTION: Duration = Duration::from_secs(MAX_ACCESS_TOKEN_TTL.as_secs() + 2 * MAX_CLOCK_SKEW.as_secs());

/// One revocation: what is dead, and until when a token that it matches could otherwise be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The tokens that are dead.
    pub subject: Subject,
    /// The time when the entry may be forgotten.
    pub expires_at: OffsetDateTime,
}

impl Revocation {
    /// A revocation of what is revoked now.
    pub fn new(subject: Subject, now: OffsetDateTime) -> Self {
        Self { subject, expires_at: saturating_add(now, RETENTION) }
    }
}

/// The tokens that a revocation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// All tokens of a session.
    Session(SessionId),
    /// All tokens of a user whose epoch is below.
    User(UserId, i64),
    /// All tokens of sessions that were opened before this moment, in seconds since 1970.
    OpenedBefore(u64),
    /// The keys have changed, perhaps because one was killed: they are to be read again.
    Keys,
}
