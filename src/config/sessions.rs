//! The sessions: how long they live, and how many a user may have. Also how exchanged refresh tokens are forgiven, and
//! how long sessions that have ended are kept.

use std::time::Duration;

use clap::Args;
use countersign_token::{
    moment::DAY,
    revocation::{MAX_CLOCK_SKEW, RETENTION},
};

use super::{names::one_of, range::Range, violations::Violations};
use crate::domain::{
    policy::{SessionLimit, SessionLimitAction, SessionPolicy},
    rotation::RotationPolicy,
};

const TEN_YEARS: Duration = DAY.saturating_mul(3650);
const TTL: Range<Duration> = Range::time("session-ttl", Duration::ZERO, TEN_YEARS).from_setting("access-token-ttl");
const IDLE_TTL: Range<Duration> = Range::time("session-idle-ttl", Duration::ZERO, TEN_YEARS)
    .from_setting("access-token-ttl")
    .to_setting("session-ttl");
const LIMIT: Range<u32> = Range::number("max-sessions-per-user", 0, 10_000);
/// The range of the retention. A row outlives every clock by which its session may be live, and all that the rows of
/// ended sessions are read for.
const KEPT: Range<Duration> = Range::time(
    "session-retention",
    Duration::from_secs(RETENTION.as_secs() + 2 * MAX_CLOCK_SKEW.as_secs()),
    TEN_YEARS,
);
const GRACE: Range<Duration> = Range::time("refresh-grace", Duration::ZERO, Duration::from_secs(300));
const LATE_RETRY: Range<Duration> = Range::time("refresh-late-retry", Duration::ZERO, DAY.saturating_mul(30));

/// Settings of sessions: how long they live, and how many a user may have.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sessions")]
pub struct SessionSettings {
    #[arg(
        long,
        env = "COUNTERSIGN_SESSION_TTL",
        default_value = "30d",
        value_parser = humantime::parse_duration,
        help = TTL.help("Lifetime of a session, however often it is refreshed")
    )]
    pub session_ttl: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_SESSION_IDLE_TTL",
        default_value = "14d",
        value_parser = humantime::parse_duration,
        help = IDLE_TTL.help("Lifetime of a session that is not refreshed")
    )]
    pub session_idle_ttl: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_MAX_SESSIONS_PER_USER",
        default_value_t = 0,
        help = LIMIT.help("Most live sessions of a user; 0 means no limit")
    )]
    pub max_sessions_per_user: u32,

    /// Decides what a Login does when the user has as many sessions as it may
    #[arg(
        long,
        env = "COUNTERSIGN_SESSION_LIMIT_ACTION",
        default_value = "end-oldest",
        value_parser = one_of(&SessionLimitAction::NAMES)
    )]
    pub session_limit_action: SessionLimitAction,

    #[arg(
        long,
        env = "COUNTERSIGN_SESSION_RETENTION",
        default_value = "24h",
        value_parser = humantime::parse_duration,
        help = KEPT.help("Time for which the row of a session that has ended is kept")
    )]
    pub session_retention: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_REFRESH_GRACE",
        default_value = "30s",
        value_parser = humantime::parse_duration,
        help = GRACE.help("Time for which an exchanged refresh token gives the same successor again, until that is used")
    )]
    pub refresh_grace: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_REFRESH_LATE_RETRY",
        default_value = "24h",
        value_parser = humantime::parse_duration,
        help = LATE_RETRY.help("Time for which an exchanged refresh token is forgiven whose successor was never used; 0s turns it off")
    )]
    pub refresh_late_retry: Duration,
}

impl SessionSettings {
    /// Checks them. A session lives no shorter than an access token.
    pub(super) fn check(self, access_token_ttl: Duration, violations: &mut Violations) -> SessionPolicy {
        let ttl = TTL.starting_at(access_token_ttl).check(self.session_ttl, violations);
        let most = LIMIT.check(self.max_sessions_per_user, violations);
        SessionPolicy {
            ttl,
            idle_ttl: IDLE_TTL.starting_at(access_token_ttl).ending_at(ttl).check(self.session_idle_ttl, violations),
            limit: (most > 0).then_some(SessionLimit { most, action: self.session_limit_action }),
            retention: KEPT.check(self.session_retention, violations),
            rotation: RotationPolicy {
                grace: GRACE.check(self.refresh_grace, violations),
                late_retry: LATE_RETRY.check(self.refresh_late_retry, violations),
            },
        }
    }
}
