//! How many sessions a user may have, and how long those that have ended are kept.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::rule::Rule;
use crate::domain::{
    moment::DAY,
    revocation::{MAX_CLOCK_SKEW, RETENTION},
};

/// So that a row outlives every clock by which its session may be live, and all that the rows of ended sessions are read for.
const MIN_RETENTION: Duration = Duration::from_secs(RETENTION.as_secs() + 2 * MAX_CLOCK_SKEW.as_secs());

/// How many sessions a user may have, and how long those that have ended are kept.
#[derive(Args, Clone, Debug)]
pub struct SessionSettings {
    /// Most live sessions of a user, 0 to 10000; 0 means no limit
    #[arg(long, env = "COUNTERSIGN_MAX_SESSIONS_PER_USER", default_value_t = 0)]
    pub max_sessions_per_user: u32,

    /// What a Login does when the user has as many sessions as it may
    #[arg(long, env = "COUNTERSIGN_SESSION_LIMIT_ACTION", default_value = "end-oldest", value_enum)]
    pub session_limit_action: SessionLimitAction,

    /// How long the row of a session that has ended is kept; 5h to 10 years
    #[arg(long, env = "COUNTERSIGN_SESSION_RETENTION", default_value = "24h", value_parser = humantime::parse_duration)]
    pub session_retention: Duration,
}

/// What a Login does at the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SessionLimitAction {
    /// Ends the user's oldest sessions.
    EndOldest,
    /// Is refused.
    Refuse,
}

/// How many live sessions a user may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimit {
    /// At most so many, at least one.
    pub most: u32,
    /// What a Login does that would open one more.
    pub action: SessionLimitAction,
}

impl SessionSettings {
    /// Each setting, whether it is in its range, and the range.
    pub(super) fn rules(&self) -> [Rule; 2] {
        let retention = MIN_RETENTION..=3650 * DAY;
        [
            ("max-sessions-per-user", self.max_sessions_per_user <= 10_000, "0 to 10000"),
            ("session-retention", retention.contains(&self.session_retention), "5h to 10 years"),
        ]
    }

    pub(super) fn limit(&self) -> Option<SessionLimit> {
        let most = Some(self.max_sessions_per_user).filter(|most| *most > 0)?;
        Some(SessionLimit { most, action: self.session_limit_action })
    }
}
