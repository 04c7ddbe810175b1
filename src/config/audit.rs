//! The audit events: how long they are kept.

use std::time::Duration;

use clap::Args;
use countersign_token::moment::DAY;

use super::{range::Range, violations::Violations};

const KEPT: Range<Duration> = Range::time("audit-retention", Duration::from_secs(3600), DAY.saturating_mul(3650));

/// Settings of audit events.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Audit")]
pub struct AuditSettings {
    #[arg(
        long,
        env = "COUNTERSIGN_AUDIT_RETENTION",
        default_value = "90d",
        value_parser = humantime::parse_duration,
        help = KEPT.help("Time for which audit events are kept")
    )]
    pub audit_retention: Duration,
}

impl AuditSettings {
    pub(super) fn check(self, violations: &mut Violations) -> Duration {
        KEPT.check(self.audit_retention, violations)
    }
}
