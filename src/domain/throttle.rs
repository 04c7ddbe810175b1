//! Limits on guesses of a password: budgets of attempts, after which each takes longer than the one before
//! (REQUIREMENTS R55, NIST SP 800-63B-4 section 3.2.2). `auth/passwords/throttle.rs` says against which budget an
//! attempt counts.

use std::time::Duration;

use countersign_token::moment::DAY;

/// Attempts that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Number of attempts without a wait.
    pub free_attempts: u32,
    /// The longest wait between two attempts; the first is a second, and each doubles.
    pub max_delay: Duration,
    /// Number of attempts after which there is none until the budget is forgotten.
    pub max_attempts: u32,
    /// Time from the first attempt until the budget is forgotten. Nothing else counts, so that nobody can tell who has logged
    /// in meanwhile.
    pub forgotten_after: Duration,
}

/// Number of attempts that are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginFailures {
    /// Free attempts for a name or a known device; 0: no name is throttled.
    pub per_account: u32,
    /// Free attempts for an address; 0: no address is throttled.
    pub per_source: u32,
}

/// The most consecutive wrong passwords that anybody may try on an account in a day.
const MAX_ATTEMPTS: u32 = 100;

impl Budget {
    /// The budget of a name, or of one device that has logged in with that name before.
    pub const fn of_account(free_attempts: u32) -> Self {
        let max_delay = Duration::from_secs(900);
        Self { free_attempts, max_delay, max_attempts: MAX_ATTEMPTS, forgotten_after: DAY }
    }

    /// The budget of an address, behind which there may be many people.
    pub const fn of_source(free_attempts: u32) -> Self {
        let (max_delay, forgotten_after) = (Duration::from_secs(60), Duration::from_secs(3600));
        Self { free_attempts, max_delay, max_attempts: u32::MAX, forgotten_after }
    }

    /// The budget of a name at one address. It holds up nobody, and says what a right password from there takes back.
    pub const fn of_own_attempts() -> Self {
        let max_delay = Duration::ZERO;
        Self { free_attempts: u32::MAX, max_delay, max_attempts: u32::MAX, forgotten_after: DAY }
    }

    /// Time for which there is no other attempt after attempt number `attempt`, from 1, unless its password was right. That
    /// attempt was made `since_first` after the first.
    pub fn wait_after(&self, attempt: u32, since_first: Duration) -> Duration {
        if attempt >= self.max_attempts {
            return self.forgotten_after.saturating_sub(since_first);
        }
        match attempt.checked_sub(self.free_attempts) {
            None => Duration::ZERO,
            Some(over) => Duration::from_secs(2_u64.saturating_pow(over)).min(self.max_delay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r55_the_first_are_free_and_then_each_takes_longer_up_to_a_limit() {
        let budget = Budget::of_account(10);
        let waits = |attempts: &[u32]| {
            attempts.iter().map(|n| budget.wait_after(*n, Duration::from_secs(400)).as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(waits(&[1, 9]), [0, 0]);
        assert_eq!(waits(&[10, 11, 12, 19, 20, 99]), [1, 2, 4, 512, 900, 900]);
        assert_eq!(waits(&[100, 101, u32::MAX]), [86_000, 86_000, 86_000]);
        assert_eq!(Budget::of_source(100).wait_after(u32::MAX - 1, Duration::ZERO), Duration::from_secs(60));
        assert_eq!(Budget::of_own_attempts().wait_after(1_000_000, Duration::ZERO), Duration::ZERO);
    }
}
