//! The revocations: how old what a replica knows may be, whether replicas wake each other, and what becomes of sessions
//! after a restore.

use std::time::Duration;

use clap::Args;
use countersign_token::revocation::{MAX_CLOCK_SKEW, MAX_STALENESS};

use super::{names::one_of, range::Range, violations::Violations};
use crate::domain::policy::{AfterRestore, Notifications, RevocationPolicy};

const STALENESS: Range<Duration> = Range::time("max-staleness", Duration::from_secs(2), MAX_STALENESS);
const CLOCK_DISTANCE: Range<Duration> = Range::time("max-clock-distance", Duration::from_secs(5), MAX_CLOCK_SKEW);

/// Settings of revocations.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Revocation")]
pub struct RevocationSettings {
    #[arg(
        long,
        env = "COUNTERSIGN_MAX_STALENESS",
        default_value = "30s",
        value_parser = humantime::parse_duration,
        help = STALENESS.help("Verify refuses when it has not heard of revocations for longer")
    )]
    pub max_staleness: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_MAX_CLOCK_DISTANCE",
        default_value = "60s",
        value_parser = humantime::parse_duration,
        help = CLOCK_DISTANCE.help("Signs no tokens while its wall clock is further from the database's")
    )]
    pub max_clock_distance: Duration,

    /// Has Postgres tell of revocations (NOTIFY), so that they are known in milliseconds; without, replicas ask ten
    /// times a second
    #[arg(long = "hints", env = "COUNTERSIGN_HINTS", default_value = "on", value_parser = one_of(&Notifications::NAMES))]
    pub notifications: Notifications,

    /// Decides about sessions when the database was restored from a backup that is older than what replicas remember.
    /// Refresh none of them until an operator decides, end all of them, or let them live
    #[arg(long, env = "COUNTERSIGN_AFTER_RESTORE", default_value = "ask", value_parser = one_of(&AfterRestore::NAMES))]
    pub after_restore: AfterRestore,

    /// Counts a revocation as confirmed only when the proxies that replicas tell of it have confirmed it too
    #[arg(long, env = "COUNTERSIGN_PROXIES_CONFIRM")]
    pub proxies_confirm: bool,
}

impl RevocationSettings {
    pub(super) fn check(self, violations: &mut Violations) -> RevocationPolicy {
        RevocationPolicy {
            max_staleness: STALENESS.check(self.max_staleness, violations),
            max_clock_distance: CLOCK_DISTANCE.check(self.max_clock_distance, violations),
            notifications: self.notifications,
            after_restore: self.after_restore,
            proxies_confirm: self.proxies_confirm,
        }
    }
}
