//! Figures: percentiles of durations, and the memory of this process.

use std::{
    fmt, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// p50 and p99.
#[derive(Clone, Copy)]
pub(crate) struct Percentiles {
    pub p50: Duration,
    pub p99: Duration,
}

impl Percentiles {
    pub(crate) fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        let at = |percent: usize| samples[(samples.len() * percent / 100).min(samples.len() - 1)];
        Self { p50: at(50), p99: at(99) }
    }

    /// How many times `other`, p50 by p50 and p99 by p99.
    pub(crate) fn ratio(self, other: Self) -> String {
        let by = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
        format!("{:.1} / {:.1}", by(self.p50, other.p50), by(self.p99, other.p99))
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms", millis(self.p50), millis(self.p99))
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What tasks that began together have counted, for each second since then.
pub(crate) async fn a_second(tasks: Vec<tokio::task::JoinHandle<u32>>, begun: Instant) -> f64 {
    let mut count = 0;
    for task in tasks {
        count += task.await.expect("no panic");
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// The resident set of this process in bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident set");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

/// Looks at the resident set every few milliseconds.
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Peak {
    pub(crate) fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = resident();
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
                peak = peak.max(resident());
            }
            peak
        });
        Self { stop, thread }
    }

    /// The most that was seen.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
