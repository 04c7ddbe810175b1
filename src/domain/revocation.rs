//! What a row of the revocation log says.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    ids::{SessionId, UserId},
    moment::later,
};

/// The longest lifetime that an access token may be given, in any deployment.
pub const MAX_ACCESS_TOKEN_TTL: Duration = Duration::from_secs(3600);

/// How far the clocks of two machines may stand apart before a revoked token could outlive its revocation.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// The largest bound that a deployment may set: no replica accepts a revoked token for longer, whatever is broken.
pub const MAX_STALENESS: Duration = Duration::from_secs(300);

/// How long a revocation is kept: no token that it matches is accepted by any replica's clock after that.
pub const RETENTION: Duration = Duration::from_secs(MAX_ACCESS_TOKEN_TTL.as_secs() + 2 * MAX_CLOCK_SKEW.as_secs());

/// One revocation: what is dead, and until when a token that it matches could otherwise be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is dead.
    pub subject: Subject,
    /// When the entry may be forgotten.
    pub expires_at: OffsetDateTime,
}

impl Revocation {
    /// Of what is revoked now.
    pub fn new(subject: Subject, now: OffsetDateTime) -> Self {
        Self { subject, expires_at: later(now, RETENTION) }
    }
}

/// What a revocation ends.
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

/// A place in the log: its row is the last one that was read, or that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The row's number, 0 before the first.
    pub seq: i64,
    /// The row's id, by which a log that took the same number again is told apart.
    pub id: Option<Uuid>,
}

/// The name of a log. Given to it at random by the first replica that finds it in another cluster or on another timeline than
/// before: a new history of commits begins with each promotion of a standby, and two standbys may be promoted to one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogIdentity(pub Uuid);

/// A revocation with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// 1, 2, 3 and so on, without gaps, in the order of commits.
    pub seq: i64,
    /// Random; tells this row from another that took the same number in a database that lost commits.
    pub id: Uuid,
    /// What it says.
    pub revocation: Revocation,
}

impl LogEntry {
    /// Its place.
    pub fn position(&self) -> Position {
        Position { seq: self.seq, id: Some(self.id) }
    }
}

/// Why sessions ended or keys changed; stored for the operator, never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An operator asked for it, by session or user.
    Revoked,
    /// Whoever has a token of the session asked for it.
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
    /// The database had lost it.
    Restored,
}

impl Reason {
    /// As it is stored.
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
