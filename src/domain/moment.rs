//! Days, and moments far ahead.

use std::time::Duration;

use time::{OffsetDateTime, PrimitiveDateTime};

/// A day of 24 hours.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// `now + by`, at the end of time if it is beyond.
pub fn later(now: OffsetDateTime, by: Duration) -> OffsetDateTime {
    let sum = time::Duration::try_from(by).ok().and_then(|by| now.checked_add(by));
    sum.unwrap_or(PrimitiveDateTime::MAX.assume_utc())
}
