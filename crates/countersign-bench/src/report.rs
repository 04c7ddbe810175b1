//! The results of a run, for machines and for people.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    shape::Shape,
    tally::{Counts, Tally},
    wire::Target,
};
use countersign::error::Error;

/// The counts of a run, before they are put in relation.
pub(super) struct Measured {
    pub(super) tally: Tally,
    /// The time from the begin of what counts to the last answer.
    pub(super) elapsed: Duration,
    pub(super) unsent: u64,
    /// CPU time of the server and of this process.
    pub(super) server: Option<Duration>,
    pub(super) generator: Option<Duration>,
}

/// A run. All that is called calls was made in the time that counts.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    target: String,
    connections: usize,
    /// Number of streams on each connection.
    streams: usize,
    threads: usize,
    /// The rate of an open loop; None in a closed one.
    rate: Option<f64>,
    seconds: f64,
    total: u64,
    pub(super) calls_per_second: f64,
    /// Calls of an open loop that were due and never made.
    unsent: u64,
    pub(super) server_cpu_us_per_call: Option<f64>,
    generator_cpu_us_per_call: Option<f64>,
    pub(super) calls: Vec<CallReport>,
}

/// One of the calls of a mix. `total` is `expected` and all of `unexpected`.
#[derive(Debug, Serialize)]
pub(super) struct CallReport {
    call: &'static str,
    /// The status or reason that it should be answered with.
    answer: &'static str,
    total: u64,
    expected: u64,
    unexpected: BTreeMap<String, u64>,
    calls_per_second: f64,
    /// Latencies of the calls that were answered as expected.
    pub(super) latency_us: Latency,
}

/// Latencies in microseconds.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    mean: f64,
    pub(super) p50: f64,
    p90: f64,
    pub(super) p99: f64,
    p99_9: f64,
    max: f64,
}

impl Measured {
    pub(super) fn report(self, target: &Target, shape: &Shape) -> Result<Report, Error> {
        let seconds = self.elapsed.as_secs_f64();
        let calls: Vec<_> = self.tally.parts.iter().map(|counts| CallReport::new(counts, seconds)).collect();
        let total = calls.iter().map(|call| call.total).sum::<u64>();
        if total == 0 {
            return Err(Error::invalid("seconds", "no call was made: time or tokens were used up before"));
        }
        let each = |time: Option<Duration>| Some(time?.as_secs_f64() * 1e6 / total as f64);
        Ok(Report {
            target: target.addr.to_string(),
            connections: shape.connections,
            streams: shape.streams,
            threads: shape.threads(),
            rate: shape.rate,
            seconds,
            total,
            calls_per_second: total as f64 / seconds,
            unsent: self.unsent,
            server_cpu_us_per_call: each(self.server),
            generator_cpu_us_per_call: each(self.generator),
            calls,
        })
    }
}

impl CallReport {
    fn new(counts: &Counts, seconds: f64) -> Self {
        let expected = counts.latencies.len();
        let total = expected + counts.unexpected.values().sum::<u64>();
        Self {
            call: counts.call.name(),
            answer: counts.call.expected().unwrap_or("OK"),
            total,
            expected,
            unexpected: counts.unexpected.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
            calls_per_second: total as f64 / seconds,
            latency_us: Latency::of(&counts.latencies),
        }
    }
}

impl Latency {
    fn of(nanos: &Histogram<u64>) -> Self {
        let at = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            mean: nanos.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: nanos.max() as f64 / 1e3,
        }
    }
}

impl Report {
    /// Passes if every call was answered as expected.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] says how many were not, and how they were answered.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut wrong = Vec::new();
        for call in &self.calls {
            for (reason, count) in &call.unexpected {
                wrong.push(format!("{count} times {reason} for {}", call.call));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::invalid("call", wrong.join(", "))) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = self.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop, {rate} calls/s due"));
        let (connections, streams) = (self.connections, self.streams);
        writeln!(f, "{}: {connections} connections x {streams} streams, {pace}", self.target)?;
        writeln!(f, "{:.1} s, {} calls, {:.0} calls/s", self.seconds, self.total, self.calls_per_second)?;
        let cpu = |micros: Option<f64>| micros.map_or_else(|| "unknown".to_owned(), |micros| format!("{micros:.1} us"));
        let (server, generator) = (cpu(self.server_cpu_us_per_call), cpu(self.generator_cpu_us_per_call));
        writeln!(f, "CPU per call: server {server}, this generator {generator}")?;
        if self.unsent > 0 {
            writeln!(f, "{} calls were due and never made: all streams waited", self.unsent)?;
        }
        let head = ["expected", "other", "calls/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us"];
        write!(f, "{:16}", "call")?;
        head.iter().try_for_each(|title| write!(f, "{title:>11}"))?;
        for call in &self.calls {
            let latency = &call.latency_us;
            write!(f, "\n{:16}{:11}{:11}", call.call, call.expected, call.total - call.expected)?;
            write!(f, "{:11.0}", call.calls_per_second)?;
            let times = [latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max];
            times.iter().try_for_each(|micros| write!(f, "{micros:11.1}"))?;
        }
        Ok(())
    }
}
