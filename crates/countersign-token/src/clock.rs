//! Time. Everything below the edge takes `now` as a parameter; only this file reads the system's clocks, and clippy
//! guards that. Tests move a manual clock by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use time::OffsetDateTime;

/// A source of wall-clock time and of time since boot.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    /// Nanoseconds to add to the system's clocks as they were at the start.
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    wall_start: OffsetDateTime,
    boot_start: BootInstant,
    elapsed_nanos: AtomicI64,
    /// The time by which the wall clock was set ahead, beyond what has passed.
    ahead_nanos: AtomicI64,
}

/// Time since boot, suspend included (`CLOCK_BOOTTIME`). Never compared between machines (REQUIREMENTS V1, V7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(Duration);

/// A moment by two clocks of one machine. `CLOCK_BOOTTIME` stands still while a virtual machine is paused; the wall
/// clock may be set. What has passed since is the larger of what the two say (REQUIREMENTS V13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    boot: BootInstant,
    /// Nanoseconds since 1970.
    wall: u64,
}

impl Moment {
    /// A moment by what both clocks said: time since boot, and nanoseconds since 1970.
    pub const fn new(boot: BootInstant, wall_nanos: u64) -> Self {
        Self { boot, wall: wall_nanos }
    }

    /// A moment by what both clocks said.
    pub fn at(boot: BootInstant, wall: OffsetDateTime) -> Self {
        Self { boot, wall: u64::try_from(wall.unix_timestamp_nanos()).unwrap_or(0) }
    }

    /// Time since boot at that moment.
    pub fn boot(self) -> BootInstant {
        self.boot
    }

    /// Nanoseconds since 1970 at that moment, by the wall clock.
    pub fn wall_nanos(self) -> u64 {
        self.wall
    }

    /// The moment so many nanoseconds later, or earlier if that is negative.
    #[must_use]
    pub fn later_by(self, nanos: i64) -> Self {
        let boot = self.boot.as_nanos().saturating_add_signed(nanos);
        Self { boot: BootInstant::from_nanos(boot), wall: self.wall.saturating_add_signed(nanos) }
    }

    /// Time by which the two clocks have run apart until `later`.
    pub fn runs_apart(self, later: Self) -> Duration {
        let passed = |from: u64, to: u64| i128::from(to) - i128::from(from);
        let apart = passed(self.wall, later.wall) - passed(self.boot.as_nanos(), later.boot.as_nanos());
        Duration::from_nanos(u64::try_from(apart.unsigned_abs()).unwrap_or(u64::MAX))
    }

    /// The time from `earlier` to `self`: the larger of what the two clocks say, zero if both say that `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.boot.since(earlier.boot).max(Duration::from_nanos(self.wall.saturating_sub(earlier.wall)))
    }
}

impl BootInstant {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Nanoseconds since boot.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The inverse of [`BootInstant::as_nanos`].
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }
}

impl Clock {
    /// The machine's clocks.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that stands still until it is moved with [`Clock::advance`].
    pub fn manual() -> Self {
        Self::manual_at(system_now())
    }

    /// The same, which begins at that time.
    pub fn manual_at(wall_start: OffsetDateTime) -> Self {
        Self(Kind::Manual(Arc::new(Manual {
            wall_start,
            boot_start: system_boot(),
            elapsed_nanos: AtomicI64::new(0),
            ahead_nanos: AtomicI64::new(0),
        })))
    }

    /// Wall-clock time, UTC.
    pub fn now(&self) -> OffsetDateTime {
        match &self.0 {
            Kind::System => system_now(),
            Kind::Manual(manual) => manual.wall_start + manual.elapsed() + manual.ahead(),
        }
    }

    /// Both clocks at once.
    pub fn moment(&self) -> Moment {
        Moment::at(self.boot(), self.now())
    }

    /// The distance of the wall clock from another machine's, which said `theirs` after `asked` and before `answered`.
    pub fn distance_from(&self, theirs: OffsetDateTime, asked: Moment, answered: Moment) -> Duration {
        let theirs = match &self.0 {
            Kind::System => theirs,
            // As much has passed there as here.
            Kind::Manual(manual) => theirs + manual.elapsed(),
        };
        let theirs = u64::try_from(theirs.unix_timestamp_nanos()).unwrap_or(0);
        let (earliest, latest) = (asked.wall.min(answered.wall), asked.wall.max(answered.wall));
        Duration::from_nanos(earliest.saturating_sub(theirs).max(theirs.saturating_sub(latest)))
    }

    /// Time since boot.
    pub fn boot(&self) -> BootInstant {
        match &self.0 {
            Kind::System => system_boot(),
            Kind::Manual(manual) => BootInstant(manual.boot_start.0 + manual.elapsed()),
        }
    }

    /// Moves a manual clock forward; the machine's clocks cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
            manual.elapsed_nanos.fetch_add(nanos, Ordering::SeqCst);
        }
    }

    /// Sets the wall clock of a manual clock ahead, as if time had passed that the other clock did not count.
    pub fn set_wall_ahead(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
            manual.ahead_nanos.fetch_add(nanos, Ordering::SeqCst);
        }
    }
}

impl Manual {
    fn ahead(&self) -> Duration {
        Duration::from_nanos(self.ahead_nanos.load(Ordering::SeqCst).unsigned_abs())
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::SeqCst).unsigned_abs())
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_now() -> OffsetDateTime {
    OffsetDateTime::from(SystemTime::now())
}

#[cfg(target_os = "linux")]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// macOS: its CLOCK_MONOTONIC counts suspend too.
#[cfg(not(target_os = "linux"))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

fn system_boot() -> BootInstant {
    let now = rustix::time::clock_gettime(BOOT_CLOCK);
    BootInstant(Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual();
        let (wall, boot) = (clock.now(), clock.boot());
        assert_eq!(clock.now(), wall);
        clock.advance(Duration::from_secs(31));
        assert_eq!(clock.now() - wall, Duration::from_secs(31));
        assert_eq!(clock.boot().since(boot), Duration::from_secs(31));
        assert_eq!(boot.since(clock.boot()), Duration::ZERO);
    }

    #[test]
    fn v13_what_has_passed_is_the_larger_of_what_two_clocks_say() {
        let clock = Clock::manual();
        let before = clock.moment();
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.moment().since(before), Duration::from_secs(2));
        clock.set_wall_ahead(Duration::from_secs(60));
        let after = clock.moment();
        assert_eq!(
            (after.since(before), after.boot().since(before.boot())),
            (Duration::from_secs(62), Duration::from_secs(2))
        );
        let stepped_back = Moment::new(after.boot(), 0);
        assert_eq!(stepped_back.since(before), Duration::from_secs(2), "a wall clock that was set back hides nothing");
    }

    #[test]
    fn the_distance_from_another_clock_allows_for_the_time_of_the_answer() {
        let clock = Clock::manual();
        let (asked, theirs) = (clock.moment(), clock.now());
        clock.advance(Duration::from_secs(3));
        let answered = clock.moment();
        let second = Duration::from_secs(1);
        let theirs = theirs - 3 * second;
        for (offset, expected) in [(0, 0), (3, 0), (8, 5)] {
            let distance = clock.distance_from(theirs + offset * second, asked, answered);
            assert_eq!(distance, expected * second, "{offset} seconds after the question");
        }
        assert_eq!(clock.distance_from(theirs - 2 * second, asked, answered), 2 * second);
    }
}
