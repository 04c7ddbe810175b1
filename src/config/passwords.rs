//! The passwords: what a new one must not be, and what a hash costs.

use std::{path::PathBuf, thread::available_parallelism};

use clap::Args;

use super::{names::one_of, range::Range, violations::Violations};
use crate::domain::{
    hash_cost::{DEFAULT_COST, LEAST_COSTS, LEAST_MEMORY, MOST_ITERATIONS, MOST_LANES, MOST_MEMORY},
    password::HashCost,
    policy::{HashPolicy, PasswordPolicy, PepperMode, WeakHashes},
};

const MIN_LENGTH: Range<usize> = Range::number("password-min-length", 8, 256);
const MIN_SCORE: Range<u8> = Range::number("password-min-score", 0, 4);
const MEMORY: Range<u32> = Range::number("hash-memory", LEAST_MEMORY, MOST_MEMORY);
const ITERATIONS: Range<u32> = Range::number("hash-iterations", 1, MOST_ITERATIONS);
const LANES: Range<u32> = Range::number("hash-lanes", 1, MOST_LANES);
/// The threads that hash; `countersign hash calibrate` measures as many.
pub const HASH_THREADS: Range<usize> = Range::number("hash-threads", 0, 256);
const QUEUE: Range<usize> = Range::number("hash-queue", 1, 65_536);

/// Settings of passwords: what a new one must not be, and what a hash costs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordSettings {
    #[arg(
        long,
        env = "COUNTERSIGN_PASSWORD_MIN_LENGTH",
        default_value_t = 15,
        help = MIN_LENGTH.help("Least number of characters of a new password")
    )]
    pub password_min_length: usize,

    /// File with passwords that nobody may choose: one a line, or their SHA-1 hashes as of Have I Been Pwned
    #[arg(long, env = "COUNTERSIGN_PASSWORD_BLOCKLIST")]
    pub password_blocklist: Option<PathBuf>,

    #[arg(
        long,
        env = "COUNTERSIGN_PASSWORD_MIN_SCORE",
        default_value_t = 0,
        help = MIN_SCORE.help("Least strength of a new password by zxcvbn's estimate; 0 does not ask")
    )]
    pub password_min_score: u8,

    #[arg(
        long,
        env = "COUNTERSIGN_HASH_MEMORY",
        default_value_t = DEFAULT_COST.memory,
        help = MEMORY.help("Memory of a password hash in KiB (argon2id's m), with its iterations at least what OWASP asks for")
    )]
    pub hash_memory: u32,

    #[arg(
        long,
        env = "COUNTERSIGN_HASH_ITERATIONS",
        default_value_t = DEFAULT_COST.iterations,
        help = ITERATIONS.help("Passes of a password hash over its memory (argon2id's t)")
    )]
    pub hash_iterations: u32,

    #[arg(
        long,
        env = "COUNTERSIGN_HASH_LANES",
        default_value_t = DEFAULT_COST.lanes,
        help = LANES.help("Lanes of a password hash (argon2id's p)")
    )]
    pub hash_lanes: u32,

    /// Makes new password hashes with a pepper: a secret that the servers keep among their keys. If required, stored hashes
    /// without one are of no use
    #[arg(
        long,
        env = "COUNTERSIGN_PASSWORD_PEPPER",
        default_value = "off",
        value_parser = one_of(&PepperMode::NAMES)
    )]
    pub password_pepper: PepperMode,

    /// Takes weak hashes in an import: below 1000 rounds of MD5 or SHA, salted or not, and md5-crypt
    #[arg(
        long,
        env = "COUNTERSIGN_IMPORT_WEAK_HASHES",
        default_value = "off",
        value_parser = one_of(&WeakHashes::NAMES)
    )]
    pub import_weak_hashes: WeakHashes,

    #[arg(
        long,
        env = "COUNTERSIGN_HASH_THREADS",
        default_value_t = 0,
        help = HASH_THREADS.help("Threads that hash passwords; 0 means one for each core")
    )]
    pub hash_threads: usize,

    #[arg(
        long,
        env = "COUNTERSIGN_HASH_QUEUE",
        default_value_t = 128,
        help = QUEUE.help("Passwords that may wait to be hashed")
    )]
    pub hash_queue: usize,
}

impl PasswordSettings {
    pub(super) fn check(self, violations: &mut Violations) -> PasswordPolicy {
        let cost = HashCost {
            memory: MEMORY.check(self.hash_memory, violations),
            iterations: ITERATIONS.check(self.hash_iterations, violations),
            lanes: LANES.check(self.hash_lanes, violations),
        };
        violations.require(cost.memory < LEAST_MEMORY || is_strong(cost), "hash-memory", least_memory());
        PasswordPolicy {
            min_length: MIN_LENGTH.check(self.password_min_length, violations),
            blocklist: self.password_blocklist,
            min_score: MIN_SCORE.check(self.password_min_score, violations),
            pepper: self.password_pepper,
            weak_hashes: self.import_weak_hashes,
            hashing: HashPolicy {
                threads: hash_threads(HASH_THREADS.check(self.hash_threads, violations)),
                queue: QUEUE.check(self.hash_queue, violations),
                cost,
            },
        }
    }
}

/// The number of threads that hash by that setting.
pub fn hash_threads(setting: usize) -> usize {
    if setting == 0 { available_parallelism().map_or(1, usize::from) } else { setting }
}

fn is_strong(cost: HashCost) -> bool {
    LEAST_COSTS.iter().any(|(memory, iterations)| cost.memory >= *memory && cost.iterations >= *iterations)
}

fn least_memory() -> String {
    let costs = LEAST_COSTS.map(|(memory, iterations)| format!("{memory} with {iterations}"));
    format!("with so many iterations too little for OWASP, which asks for at least {}", costs.join(", "))
}
