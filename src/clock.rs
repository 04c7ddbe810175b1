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
    boot_start: Boot,
    elapsed_nanos: AtomicI64,
}

/// Time since boot, suspend included (`CLOCK_BOOTTIME`). Never compared between machines (REQUIREMENTS V1, V7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot(Duration);

impl Boot {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Nanoseconds since boot.
    pub fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The inverse of [`Boot::as_nanos`].
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
        Self(Kind::Manual(Arc::new(Manual {
            wall_start: system_now(),
            boot_start: system_boot(),
            elapsed_nanos: AtomicI64::new(0),
        })))
    }

    /// Wall-clock time, UTC.
    pub fn now(&self) -> OffsetDateTime {
        match &self.0 {
            Kind::System => system_now(),
            Kind::Manual(manual) => manual.wall_start + manual.elapsed(),
        }
    }

    /// Time since boot.
    pub fn boot(&self) -> Boot {
        match &self.0 {
            Kind::System => system_boot(),
            Kind::Manual(manual) => Boot(manual.boot_start.0 + manual.elapsed()),
        }
    }

    /// Moves a manual clock forward; the machine's clocks cannot be moved.
    pub fn advance(&self, by: Duration) {
        if let Kind::Manual(manual) = &self.0 {
            let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
            manual.elapsed_nanos.fetch_add(nanos, Ordering::SeqCst);
        }
    }
}

impl Manual {
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

fn system_boot() -> Boot {
    let now = rustix::time::clock_gettime(BOOT_CLOCK);
    Boot(Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0)))
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
}
