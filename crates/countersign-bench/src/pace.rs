//! The moments at which calls are made. In a closed loop each stream calls again when it has its answer. In an open
//! loop calls are due by a schedule, whatever the server does, and their latency counts from when they were due. So a
//! server that stands still is charged for all the calls that it kept from being sent (coordinated omission).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

/// Decides when the next call is due.
pub(crate) struct Pace {
    /// The moment before which no call is made.
    pub begin: Instant,
    /// The moment from which on calls count.
    pub measured_from: Instant,
    /// The moment from which on no call is due.
    pub until: Instant,
    schedule: Option<Schedule>,
}

/// The calls of an open loop.
struct Schedule {
    begin: Instant,
    /// Calls a second.
    rate: f64,
    /// One for each call that is due and not sent.
    due: Semaphore,
    sent: AtomicU64,
}

impl Pace {
    /// A pace from `begin` on: first the warm-up, then the time that counts. With `rate` an open loop of so many calls
    /// a second.
    pub(crate) fn new(begin: Instant, warm_up: Duration, measured: Duration, rate: Option<f64>) -> Self {
        let measured_from = begin + warm_up;
        let schedule = rate.map(|rate| Schedule { begin, rate, due: Semaphore::new(0), sent: AtomicU64::new(0) });
        Self { begin, measured_from, until: measured_from + measured, schedule }
    }

    /// Waits for the next call of a stream, and says since when it is due; None at the end.
    pub(crate) async fn next(&self) -> Option<Instant> {
        let Some(schedule) = &self.schedule else {
            return Some(Instant::now()).filter(|now| *now < self.until);
        };
        schedule.due.acquire().await.ok()?.forget();
        Some(schedule.at(schedule.sent.fetch_add(1, Ordering::Relaxed)))
    }

    /// Once all streams have ended: how many calls were due and never sent, because all of them waited for answers.
    pub(crate) fn unsent(&self) -> u64 {
        self.schedule.as_ref().map_or(0, |schedule| u64::try_from(schedule.due.available_permits()).unwrap_or(0))
    }

    /// Lets calls become due until the end, in the thread that calls it; returns at once in a closed loop.
    pub(crate) fn run(&self) {
        let Some(schedule) = &self.schedule else {
            return;
        };
        let mut released = 0;
        loop {
            let now = Instant::now().min(self.until);
            let due = schedule.due_by(now);
            schedule.due.add_permits(usize::try_from(due - released).unwrap_or(0));
            released = due;
            if now >= self.until {
                break;
            }
            // tokio's timers count milliseconds, which is longer than many an answer takes.
            thread::sleep(schedule.at(due).min(self.until).saturating_duration_since(Instant::now()));
        }
        schedule.due.close();
    }
}

impl Schedule {
    /// The moment at which the call of that number is due.
    fn at(&self, number: u64) -> Instant {
        self.begin + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Number of calls that are due by `now`.
    fn due_by(&self, now: Instant) -> u64 {
        // The first one is due at the begin.
        (now.saturating_duration_since(self.begin).as_secs_f64() * self.rate) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn schedule(begin: Instant) -> Schedule {
        Schedule { begin, rate: 1000.0, due: Semaphore::new(0), sent: AtomicU64::new(0) }
    }

    #[test]
    fn calls_are_due_one_interval_after_the_other() {
        let begin = Instant::now();
        let schedule = schedule(begin);
        assert_eq!(schedule.at(0), begin);
        assert_eq!(schedule.at(250), begin + Duration::from_millis(250));
        for (millis, due) in [(0, 1), (1, 2), (250, 251)] {
            // A little later: the product of two floats may lie below the whole number.
            let now = begin + Duration::from_millis(millis) + Duration::from_nanos(10);
            assert_eq!(schedule.due_by(now), due);
        }
    }

    #[test]
    fn a_pause_is_charged_to_all_calls_that_were_due_in_it() {
        // A server that stands still for 100 ms: at 1000 calls a second, one stream meets it with 100 calls.
        let begin = Instant::now();
        let schedule = schedule(begin);
        let resumed = begin + Duration::from_millis(100);
        let latencies: Vec<_> = (0..100).map(|number| resumed - schedule.at(number)).collect();
        assert_eq!(latencies.first(), Some(&Duration::from_millis(100)));
        let above = |millis| latencies.iter().filter(|latency| **latency > Duration::from_millis(millis)).count();
        assert_eq!(above(50), 50, "half of them waited for more than half of the pause");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_open_loop_hands_out_every_call_of_its_schedule_once() {
        let begin = Instant::now();
        let pace = Arc::new(Pace::new(begin, Duration::ZERO, Duration::from_millis(50), Some(10_000.0)));
        let streams: Vec<_> = (0..4)
            .map(|_| {
                let pace = Arc::clone(&pace);
                tokio::spawn(async move {
                    let mut due = Vec::new();
                    while let Some(at) = pace.next().await {
                        due.push(at);
                    }
                    due
                })
            })
            .collect();
        pace.run();
        let mut due = Vec::new();
        for stream in streams {
            due.extend(stream.await.expect("no panic"));
        }
        due.sort_unstable();
        due.dedup();
        assert_eq!(due.len() as u64 + pace.unsent(), 501);
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_its_time() {
        let begin = Instant::now();
        assert!(Pace::new(begin, Duration::ZERO, Duration::ZERO, None).next().await.is_none());
        assert!(Pace::new(begin, Duration::ZERO, Duration::from_secs(60), None).next().await.is_some());
    }
}
