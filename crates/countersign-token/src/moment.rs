//! Moments as seconds since 1970, days, and moments far ahead.

use std::time::Duration;

use time::{OffsetDateTime, PrimitiveDateTime};

/// A day of 24 hours.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// `now + by`, at the end of time if it is beyond.
pub fn saturating_add(now: OffsetDateTime, by: Duration) -> OffsetDateTime {
    let sum = time::Duration::try_from(by).ok().and_then(|by| now.checked_add(by));
    sum.unwrap_or(PrimitiveDateTime::MAX.assume_utc())
}

/// Seconds since 1970; zero before.
pub fn unix(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap_or(0)
}

/// The moment so many seconds after 1970; the last one that there is for what is beyond.
pub fn at(seconds: u64) -> OffsetDateTime {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(PrimitiveDateTime::MAX.assume_utc())
}
