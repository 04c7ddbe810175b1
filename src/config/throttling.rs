//! Throttling: how often a password may be guessed, and how long a guess may wait.

use std::time::Duration;

use clap::Args;

use super::{range::Range, violations::Violations};
use crate::domain::{policy::ThrottlePolicy, throttle::LoginFailures};

const DEADLINE: Range<Duration> = Range::time("login-deadline", Duration::from_secs(1), Duration::from_secs(60));
const FAILURES: Range<u32> = Range::number("login-failures", 0, 99);
const FAILURES_PER_SOURCE: Range<u32> = Range::number("login-failures-per-source", 0, 1_000_000);

/// Settings of throttling.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Throttling")]
pub struct ThrottleSettings {
    #[arg(
        long,
        env = "COUNTERSIGN_LOGIN_DEADLINE",
        default_value = "5s",
        value_parser = humantime::parse_duration,
        help = DEADLINE.help("Longest wait of a Login for its password to be checked if its caller gives no deadline")
    )]
    pub login_deadline: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_LOGIN_FAILURES",
        default_value_t = 10,
        help = FAILURES.help("Wrong passwords in a day for one name before the next has to wait; 0 turns that off")
    )]
    pub login_failures: u32,

    #[arg(
        long,
        env = "COUNTERSIGN_LOGIN_FAILURES_PER_SOURCE",
        default_value_t = 100,
        help = FAILURES_PER_SOURCE.help("Wrong passwords in an hour from one address before the next has to wait; 0 turns that off")
    )]
    pub login_failures_per_source: u32,
}

impl ThrottleSettings {
    pub(super) fn check(self, violations: &mut Violations) -> ThrottlePolicy {
        ThrottlePolicy {
            deadline: DEADLINE.check(self.login_deadline, violations),
            failures: LoginFailures {
                per_account: FAILURES.check(self.login_failures, violations),
                per_source: FAILURES_PER_SOURCE.check(self.login_failures_per_source, violations),
            },
        }
    }
}
