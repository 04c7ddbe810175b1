//! Rates: how often something may happen, whoever brings it about.

use std::time::Duration;

use countersign_token::clock::BootInstant;

/// A rate with a burst (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Rate {
    burst: u32,
    refill: Duration,
    /// The moment at which the whole burst is left again.
    full_at: BootInstant,
}

impl Rate {
    /// A rate of `burst` at once after a rest, and one more each `refill`.
    pub const fn new(burst: u32, refill: Duration) -> Self {
        Self { burst, refill, full_at: BootInstant::from_nanos(0) }
    }

    /// Takes `count` if so many are left now, and else none. Says whether it did.
    pub fn take(&mut self, count: usize, now: BootInstant) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let left_at = self.full_at.max(now).as_nanos().saturating_add(nanos(self.refill.saturating_mul(count)));
        let allowed = left_at <= now.as_nanos().saturating_add(nanos(self.refill.saturating_mul(self.burst)));
        if allowed {
            self.full_at = BootInstant::from_nanos(left_at);
        }
        allowed
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_burst_and_then_one_at_each_refill() {
        let mut rate = Rate::new(10, Duration::from_secs(1));
        let mut taken = |millis| (0..100).filter(|_| rate.take(1, at(millis))).count();
        assert_eq!([taken(5), taken(1004), taken(1005), taken(1500), taken(4005)], [10, 0, 1, 0, 3]);
        assert_eq!(taken(60_000), 10, "no more than a burst is saved");
    }

    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let mut rate = Rate::new(10, Duration::from_secs(1));
        assert!(rate.take(7, at(0)) && !rate.take(4, at(0)) && rate.take(3, at(0)) && !rate.take(1, at(0)));
        assert!(!rate.take(usize::MAX, at(60_000)) && rate.take(0, at(0)));
    }
}
