//! What a password costs to check, and how often one may be guessed; the same in `serve` and `dev`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::rule::Rule;
use crate::domain::{
    hash_cost::{LEAST_COSTS, MOST_ITERATIONS, MOST_LANES, MOST_MEMORY},
    password::HashCost,
    throttle::LoginFailures,
};

/// What a password costs to check, and how often one may be guessed.
#[derive(Args, Clone, Copy, Debug)]
pub struct LoginSettings {
    /// Memory of a password hash in KiB (argon2id's m), at least what OWASP asks for
    #[arg(long, env = "COUNTERSIGN_HASH_MEMORY", default_value_t = 19_456)]
    pub hash_memory: u32,

    /// Passes of a password hash over its memory (argon2id's t)
    #[arg(long, env = "COUNTERSIGN_HASH_ITERATIONS", default_value_t = 2)]
    pub hash_iterations: u32,

    /// Lanes of a password hash (argon2id's p)
    #[arg(long, env = "COUNTERSIGN_HASH_LANES", default_value_t = 1)]
    pub hash_lanes: u32,

    /// Whether new password hashes have a pepper: a secret that the servers keep among their keys
    #[arg(long, env = "COUNTERSIGN_PASSWORD_PEPPER", default_value = "off", value_enum)]
    pub password_pepper: Peppering,

    /// How long a Login may wait for its password to be checked if its caller gives no deadline; 1s to 1m
    #[arg(long, env = "COUNTERSIGN_LOGIN_DEADLINE", default_value = "5s", value_parser = humantime::parse_duration)]
    pub login_deadline: Duration,

    /// Wrong passwords in a row for one name before the next has to wait; 0 turns throttling off
    #[arg(long, env = "COUNTERSIGN_LOGIN_FAILURES", default_value_t = 10)]
    pub login_failures: u32,

    /// Wrong passwords in an hour from one address before the next has to wait; 0 turns that off
    #[arg(long, env = "COUNTERSIGN_LOGIN_FAILURES_PER_SOURCE", default_value_t = 100)]
    pub login_failures_per_source: u32,
}

/// Whether new password hashes have a pepper. Those that are stored are checked with theirs in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peppering {
    /// They do.
    On,
    /// They do not.
    Off,
}

impl Peppering {
    /// Whether they do.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl LoginSettings {
    pub(super) fn rules(&self) -> [Rule; 6] {
        let (memory, iterations) = (self.hash_memory, self.hash_iterations);
        let strong = LEAST_COSTS.iter().any(|(m, t)| memory >= *m && iterations >= *t);
        let deadline = Duration::from_secs(1)..=Duration::from_secs(60);
        [
            (
                "hash-memory",
                strong && memory <= MOST_MEMORY,
                "19456 to 262144 with 2 iterations; less with more, see OWASP",
            ),
            ("hash-iterations", (1..=MOST_ITERATIONS).contains(&iterations), "1 to 16"),
            ("hash-lanes", (1..=MOST_LANES).contains(&self.hash_lanes), "1 to 8"),
            ("login-deadline", deadline.contains(&self.login_deadline), "1s to 1m"),
            ("login-failures", self.login_failures <= 99, "0 to 99"),
            ("login-failures-per-source", self.login_failures_per_source <= 1_000_000, "0 to 1000000"),
        ]
    }

    /// What a new hash costs.
    pub fn hash_cost(&self) -> HashCost {
        HashCost { memory: self.hash_memory, iterations: self.hash_iterations, lanes: self.hash_lanes }
    }

    pub(super) fn failures(&self) -> LoginFailures {
        LoginFailures { per_account: self.login_failures, per_source: self.login_failures_per_source }
    }
}
