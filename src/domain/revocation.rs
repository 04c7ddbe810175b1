//! The log of revocations: its rows, and why they were written.

use std::time::Duration;

use countersign_token::{
    moment::saturating_add,
    revocation::{RETENTION, Revocation},
};
use time::OffsetDateTime;
use uuid::Uuid;

/// A place in the log: its row is the last one that was read, or that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The row's number, 0 before the first.
    pub seq: i64,
    /// The row's id, by which a log that took the same number again is told apart.
    pub id: Option<Uuid>,
}

/// The name of a log. The first replica that finds the log in another cluster or on another timeline than before gives
/// it one at random. A new history of commits begins with each promotion of a standby, and two standbys may be
/// promoted to one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogIdentity(pub Uuid);

/// A revocation with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// 1, 2, 3 and so on, without gaps, in the order of commits.
    pub seq: i64,
    /// Random; tells this row from another that took the same number in a database that lost commits.
    pub id: Uuid,
    /// The revocation in this row.
    pub revocation: Revocation,
}

impl LogEntry {
    /// The position of this row.
    pub fn position(&self) -> Position {
        Position { seq: self.seq, id: Some(self.id) }
    }

    /// The time since the revocation was made, by the clock of the replica that made it. Zero if that one goes ahead.
    pub fn age(&self, now: OffsetDateTime) -> Duration {
        (saturating_add(now, RETENTION) - self.revocation.expires_at).try_into().unwrap_or_default()
    }
}

/// Reasons for which sessions ended or keys changed; stored for the operator, never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An operator asked for it, by session or user.
    Revoked,
    /// A caller that has a token of the session asked for it.
    LoggedOut,
    /// A refresh token was used twice.
    Reuse,
    /// The user logged in again and may not have so many.
    SessionLimit,
    /// The password was set or changed.
    PasswordChanged,
    /// The user was disabled.
    UserDisabled,
    /// The user was deleted.
    UserDeleted,
    /// A key was made, began to sign, or was deleted.
    KeysRotated,
    /// A key was killed.
    KeyKilled,
    /// The database had lost the revocation.
    Restored,
}

impl Reason {
    /// The name of the reason as it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::LoggedOut => "logout",
            Self::Reuse => "reuse",
            Self::SessionLimit => "session_limit",
            Self::PasswordChanged => "password_changed",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::KeysRotated => "keys_rotated",
            Self::KeyKilled => "key_killed",
            Self::Restored => "restored",
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::{ids::SessionId, revocation::Subject};

    use super::*;

    #[test]
    fn a_row_is_as_old_as_its_revocation() {
        let made = OffsetDateTime::UNIX_EPOCH;
        let revocation = Revocation::new(Subject::Session(SessionId(Uuid::nil())), made);
        let entry = LogEntry { seq: 1, id: Uuid::nil(), revocation };
        assert_eq!(entry.age(made + Duration::from_millis(3)), Duration::from_millis(3));
        assert_eq!(entry.age(made - Duration::from_secs(1)), Duration::ZERO);
    }
}
