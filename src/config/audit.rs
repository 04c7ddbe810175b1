//! The audit events: how long they are kept.

use std::time::Duration;

use clap::Args;
use countersign_token::moment::DAY;

use super::{range::Range, violations::Violations};
use crate::domain::policy::AuditPolicy;

const KEPT: Range<Duration> = Range::time("audit-retention", Duration::from_secs(3600), DAY.saturating_mul(3650));

const REFUSALS_KEPT: Range<Duration> =
    Range::time("audit-refusal-retention", Duration::from_secs(3600), DAY.saturating_mul(3650));

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

    #[arg(
        long,
        env = "COUNTERSIGN_AUDIT_REFUSAL_RETENTION",
        default_value = "30d",
        value_parser = humantime::parse_duration,
        help = REFUSALS_KEPT.help("Time for which audit events of refusals are kept, if no longer than the others")
    )]
    pub audit_refusal_retention: Duration,
}

impl AuditSettings {
    pub(super) fn check(self, violations: &mut Violations) -> AuditPolicy {
        AuditPolicy {
            retention: KEPT.check(self.audit_retention, violations),
            refusal_retention: REFUSALS_KEPT.check(self.audit_refusal_retention, violations),
        }
    }
}
