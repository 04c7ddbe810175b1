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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_read() {
        let id = SessionId::new(OffsetDateTime::UNIX_EPOCH);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for bad in ["", "x", &id.0.simple().to_string(), &id.to_string().to_uppercase()] {
            assert_eq!(SessionId::parse(bad), None, "{bad}");
        }
    }
}
