//! How long audit events are kept.

use std::time::Duration;

use clap::Args;

use super::rule::Rule;
use crate::domain::moment::DAY;

/// How long audit events are kept.
#[derive(Args, Clone, Copy, Debug)]
pub struct AuditSettings {
    /// How long audit events are kept, 1h to 10 years
    #[arg(long, env = "COUNTERSIGN_AUDIT_RETENTION", default_value = "90d", value_parser = humantime::parse_duration)]
    pub audit_retention: Duration,
}

impl AuditSettings {
    pub(super) fn rules(&self) -> [Rule; 1] {
        let kept = Duration::from_secs(3600)..=3650 * DAY;
        [("audit-retention", kept.contains(&self.audit_retention), "1h to 10 years")]
    }
}
