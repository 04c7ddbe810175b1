//! Rates: how often something may happen, whoever brings it about.

use std::time::Duration;

use countersign_token::clock::BootInstant;

/// The most that may happen: a burst at once after a rest, and one more each time the refill has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    burst: u32,
    refill: Duration,
}

impl RateLimit {
    /// Reads `50/s`, `3000/m` or `10/h`: so many at once after a rest, and as many in each such time.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let burst = count.bytes().all(|b| b.is_ascii_digit()).then(|| count.parse().ok()).flatten()?;
        let refill = Duration::from_secs(seconds).checked_div(burst)?;
        (refill > Duration::ZERO).then_some(Self { burst, refill })
    }
}

/// A rate with a burst (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Rate {
    limit: RateLimit,
    /// The moment at which the whole burst is left again.
    full_at: BootInstant,
}

impl Rate {
    /// A rate of `burst` at once after a rest, and one more each `refill`.
    pub const fn new(burst: u32, refill: Duration) -> Self {
        Self::of(RateLimit { burst, refill })
    }

    /// A rate of this limit, of which nothing has been taken.
    pub const fn of(limit: RateLimit) -> Self {
        Self { limit, full_at: BootInstant::from_nanos(0) }
    }

    /// The limit from now on. What was taken stays taken.
    pub fn set_limit(&mut self, limit: RateLimit) {
        self.limit = limit;
    }

    /// True if nothing is missing of the burst.
    pub fn is_full(&self, now: BootInstant) -> bool {
        self.full_at <= now
    }

    /// Takes `count` if so many are left now, and else none. Says whether it did.
    pub fn take(&mut self, count: usize, now: BootInstant) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.take_or_wait(count, now).is_ok()
    }

    /// Takes `count` if so many are left now, and else none.
    ///
    /// # Errors
    /// Time until so many are left, if nobody takes any meanwhile. More than the burst are never left.
    pub fn take_or_wait(&mut self, count: u32, now: BootInstant) -> Result<(), Duration> {
        let RateLimit { burst, refill } = self.limit;
        let left_at = self.full_at.max(now).as_nanos().saturating_add(nanos(refill.saturating_mul(count)));
        let allowed_to = now.as_nanos().saturating_add(nanos(refill.saturating_mul(burst)));
        if left_at > allowed_to {
            return Err(Duration::from_nanos(left_at - allowed_to));
        }
        self.full_at = BootInstant::from_nanos(left_at);
        Ok(())
    }

    /// Takes as [`Self::take_or_wait`] does, of a count above the burst the burst.
    ///
    /// # Errors
    /// Time until so many are left, if nobody takes any meanwhile.
    pub fn take_up_to_burst(&mut self, count: u32, now: BootInstant) -> Result<(), Duration> {
        self.take_or_wait(count.min(self.limit.burst), now)
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

    #[test]
    fn a_limit_is_read_as_a_count_in_a_time() {
        for (text, burst, refill) in [
            ("50/s", 50, Duration::from_millis(20)),
            ("1/m", 1, Duration::from_secs(60)),
            ("7200/h", 7200, Duration::from_millis(500)),
        ] {
            assert_eq!(RateLimit::parse(text), Some(RateLimit { burst, refill }), "{text}");
        }
        for text in ["", "50", "0/s", "50/d", "-1/s", "+1/s", "1.5/s", "50 /s", "4294967296/s", "4000000000/s"] {
            assert_eq!(RateLimit::parse(text), None, "{text}");
        }
    }

    #[test]
    fn whoever_comes_too_often_is_told_how_long_to_wait() {
        let mut rate = Rate::of(RateLimit::parse("2/s").expect("a limit"));
        assert_eq!([rate.take_or_wait(1, at(0)), rate.take_or_wait(1, at(0))], [Ok(()); 2]);
        assert_eq!(rate.take_or_wait(1, at(100)), Err(Duration::from_millis(400)));
        assert_eq!(rate.take_or_wait(1, at(500)), Ok(()));
        assert!(!rate.is_full(at(1000)) && rate.is_full(at(1500)));
        assert_eq!(rate.take_up_to_burst(1000, at(1500)), Ok(()), "a batch is no more than the burst");
        rate.set_limit(RateLimit::parse("4/s").expect("a limit"));
        assert_eq!(rate.take_or_wait(1, at(1500)), Err(Duration::from_millis(250)), "what was taken stays taken");
    }
}
