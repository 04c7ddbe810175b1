//! Ids of users and sessions: UUIDs version 7 (RFC 9562), made by the application.

use std::fmt;

use time::OffsetDateTime;
use uuid::{NoContext, Timestamp, Uuid};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id that sorts by `now`.
            pub fn new(now: OffsetDateTime) -> Self {
                Self(new_v7(now))
            }

            /// Reads the canonical form alone: 36 characters, lower case, with hyphens.
            pub fn parse(text: &str) -> Option<Self> {
                let id = Uuid::try_parse(text).ok()?;
                (id.to_string() == text).then_some(Self(id))
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A user.
    UserId
}
id! {
    /// A session: what a Login opens and a Revoke ends.
    SessionId
}

/// A fresh UUID version 7.
pub fn new_v7(now: OffsetDateTime) -> Uuid {
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, now.nanosecond()))
}

/// The lowest UUID version 7 of that moment.
pub fn first_v7(at: OffsetDateTime) -> Uuid {
    let millis = u128::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Uuid::from_u128(millis << 80 | 0x7000 << 64 | 0x8000 << 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_moment_is_below_all_others_of_it_and_above_those_before() {
        let now = OffsetDateTime::from_unix_timestamp_nanos(1_700_000_000_123_456_789).expect("a moment");
        let millisecond = std::time::Duration::from_millis(1);
        assert!(first_v7(now) < new_v7(now) && new_v7(now) < first_v7(now + millisecond));
        assert!(new_v7(now - millisecond) < first_v7(now));
        assert_eq!(first_v7(now).get_version_num(), 7);
        assert!(
            first_v7(OffsetDateTime::UNIX_EPOCH - millisecond) < first_v7(OffsetDateTime::UNIX_EPOCH + millisecond)
        );
    }

    #[test]
    fn only_the_canonical_form_is_read() {
        let id = SessionId::new(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for bad in ["", "x", &id.0.simple().to_string(), &id.to_string().to_uppercase()] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }
}
