//! The budget of heartbeats that strangers bring about: whatever names an unknown key asks for one.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Number of requests at once, after a rest.
const BURST: u32 = 10;
/// Time in which one more is allowed: as often as the follower heartbeats by itself.
const REFILL: Duration = Duration::from_secs(1);

/// Requests that are left.
#[derive(Debug, Default)]
pub(super) struct RequestBudget(Mutex<Option<Instant>>);

impl RequestBudget {
    /// Takes one request, if any is left now.
    pub(super) fn take(&self, now: Instant) -> bool {
        // The moment at which all would be left again (GCRA).
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let after = full_at.map_or(now, |at| at.max(now)) + REFILL;
        let allowed = after <= now + REFILL * BURST;
        if allowed {
            *full_at = Some(after);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_each_second() {
        let (budget, start) = (RequestBudget::default(), Instant::now());
        let taken = |millis: u64| (0..100).filter(|_| budget.take(start + Duration::from_millis(millis))).count();
        assert_eq!([taken(0), taken(999), taken(1000), taken(1500), taken(4000)], [10, 0, 1, 0, 3]);
        assert_eq!(taken(60_000), 10, "no more than a burst is saved");
    }
}
