//! What a new password must not be.

use std::path::PathBuf;

use clap::Args;

use super::rule::Rule;

/// What a new password must not be, besides too short.
#[derive(Args, Clone, Debug)]
pub struct PasswordSettings {
    /// File with passwords that nobody may choose: one a line, or their SHA-1 hashes as of Have I Been Pwned
    #[arg(long, env = "COUNTERSIGN_PASSWORD_BLOCKLIST")]
    pub password_blocklist: Option<PathBuf>,

    /// Least strength of a new password by zxcvbn's estimate, 0 to 4; 0 does not ask
    #[arg(long, env = "COUNTERSIGN_PASSWORD_MIN_SCORE", default_value_t = 0)]
    pub password_min_score: u8,
}

impl PasswordSettings {
    /// Each setting, whether it is in its range, and the range.
    pub(super) fn rules(&self) -> [Rule; 1] {
        [("password-min-score", self.password_min_score <= 4, "0 to 4")]
    }
}
