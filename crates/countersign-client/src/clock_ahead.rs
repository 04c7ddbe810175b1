//! The wall clock of the service, by which tokens expire: this machine's may be wrong.

use std::collections::VecDeque;

use countersign_token::clock::Moment;

/// Heartbeats that are kept: one that was late on its way says too little, so the largest of some counts.
const KEPT: usize = 8;
/// A step of this machine's wall clock: so many nanoseconds that its other clock did not count.
const STEP: i64 = 500_000_000;

/// The service's clock, as the heartbeats of a stream tell it.
#[derive(Debug, Default)]
pub(crate) struct ClockAhead {
    samples: VecDeque<i64>,
    last: Option<Moment>,
}

impl ClockAhead {
    /// Takes in what the service's clock was when it sent a heartbeat, in nanoseconds since 1970, and when that arrived. Gives the
    /// nanoseconds by which that clock is ahead of this machine's.
    pub(crate) fn hear(&mut self, sent_at: i64, now: Moment) -> i64 {
        let wall = |moment: Moment| i64::try_from(moment.wall_nanos()).unwrap_or(i64::MAX);
        let boot = |moment: Moment| i64::try_from(moment.boot().as_nanos()).unwrap_or(i64::MAX);
        let steps = |last: Moment| {
            let passed = wall(now).saturating_sub(wall(last));
            passed.saturating_sub(boot(now).saturating_sub(boot(last))).abs() > STEP
        };
        if self.last.is_some_and(steps) {
            self.samples.clear();
        }
        self.last = Some(now);
        self.samples.push_back(sent_at.saturating_sub(wall(now)));
        if self.samples.len() > KEPT {
            self.samples.pop_front();
        }
        self.samples.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::clock::BootInstant;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// A moment after the start by one clock and by the other.
    fn at(boot: i64, wall: i64) -> Moment {
        Moment::new(BootInstant::from_nanos(boot.unsigned_abs()), wall.unsigned_abs())
    }

    #[test]
    fn a_heartbeat_that_was_late_does_not_set_the_clock_back() {
        let mut ahead = ClockAhead::default();
        assert_eq!(ahead.hear(3600 * SECOND, at(SECOND, SECOND)), 3599 * SECOND);
        assert_eq!(ahead.hear(3601 * SECOND, at(12 * SECOND, 12 * SECOND)), 3599 * SECOND, "ten seconds late");
    }

    #[test]
    fn a_step_of_this_machines_clock_is_followed_at_once() {
        let mut ahead = ClockAhead::default();
        ahead.hear(100 * SECOND, at(SECOND, 100 * SECOND));
        assert_eq!(ahead.hear(101 * SECOND, at(2 * SECOND, 3701 * SECOND)), -3600 * SECOND);
        assert_eq!(ahead.hear(102 * SECOND, at(3 * SECOND, 102 * SECOND)), 0);
    }
}
