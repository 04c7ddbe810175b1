//! The answers that callers met: for each call a histogram of latencies, and how many were refused, by reason.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::{call::Call, wire::Answer};
use countersign::error::Error;

/// Bounds of the histograms, in nanoseconds with three significant digits. What takes longer counts as the longest.
const SHORTEST: u64 = 100;
const LONGEST: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// The counts of a run, or of a part of one.
pub(super) struct Tally {
    pub(super) parts: Vec<Counts>,
    /// The moment at which the last answer came.
    pub(super) last: Option<Instant>,
}

/// The counts of one kind of call.
pub(super) struct Counts {
    pub(super) call: Call,
    /// Latencies of the calls that were answered as expected.
    pub(super) latencies: Histogram<u64>,
    pub(super) unexpected: BTreeMap<Arc<str>, u64>,
}

impl Counts {
    fn new(call: Call) -> Result<Self, Error> {
        let latencies = Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS).map_err(Error::internal)?;
        Ok(Self { call, latencies, unexpected: BTreeMap::new() })
    }
}

impl Tally {
    pub(super) fn new(calls: impl Iterator<Item = Call>) -> Result<Self, Error> {
        Ok(Self { parts: calls.map(Counts::new).collect::<Result<_, _>>()?, last: None })
    }

    /// Counts the answer to the call of that index.
    pub(super) fn count(&mut self, part: usize, latency: Duration, answer: &Answer) {
        let is_expected = self.expects(part, answer);
        let Some(counts) = self.parts.get_mut(part) else {
            return;
        };
        if is_expected {
            counts.latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
            return;
        }
        // OK where a refusal was expected is as wrong as the reverse.
        let reason = answer.as_ref().err().cloned().unwrap_or_else(|| "OK".into());
        *counts.unexpected.entry(reason).or_default() += 1;
    }

    /// True if the call of that index is to be answered so.
    pub(super) fn expects(&self, part: usize, answer: &Answer) -> bool {
        let refusal = answer.as_ref().err().map(AsRef::as_ref);
        self.parts.get(part).is_some_and(|counts| refusal == counts.call.expected())
    }

    /// Notes that an answer has come.
    pub(super) fn heard(&mut self, at: Instant) {
        self.last = self.last.max(Some(at));
    }

    /// Adds what another thread has counted.
    pub(super) fn add(&mut self, other: Self) -> Result<(), Error> {
        for (mine, theirs) in self.parts.iter_mut().zip(other.parts) {
            mine.latencies.add(&theirs.latencies).map_err(Error::internal)?;
            for (reason, count) in theirs.unexpected {
                *mine.unexpected.entry(reason).or_default() += count;
            }
        }
        self.last = self.last.max(other.last);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_not_as_expected_is_counted_apart_with_its_reason() {
        let mut tally = Tally::new([Call::VerifyWarm, Call::VerifyRevoked].into_iter()).expect("bounds");
        let (good, revoked): (Answer, Answer) = (Ok(Bytes::new()), Err("TOKEN_REVOKED".into()));
        for (part, answer) in [(0, &good), (0, &good), (0, &revoked), (1, &revoked), (1, &good)] {
            tally.count(part, Duration::from_micros(50), answer);
        }
        let [warm, dead] = &tally.parts[..] else { panic!("two") };
        assert_eq!((warm.latencies.len(), warm.unexpected.get("TOKEN_REVOKED")), (2, Some(&1)));
        assert_eq!((dead.latencies.len(), dead.unexpected.get("OK")), (1, Some(&1)));
    }

    #[test]
    fn a_latency_beyond_all_bounds_counts_as_the_longest() {
        let mut tally = Tally::new([Call::Login].into_iter()).expect("bounds");
        tally.count(0, Duration::from_secs(86_400), &Ok(Bytes::new()));
        assert!(tally.parts[0].latencies.max() >= LONGEST);
    }

    #[test]
    fn threads_add_up() {
        let mut all = Tally::new([Call::Login].into_iter()).expect("bounds");
        for _ in 0..3 {
            let mut one = Tally::new([Call::Login].into_iter()).expect("bounds");
            one.count(0, Duration::from_millis(20), &Ok(Bytes::new()));
            one.count(0, Duration::from_millis(20), &Err("OVERLOADED".into()));
            all.add(one).expect("equal bounds");
        }
        assert_eq!((all.parts[0].latencies.len(), all.parts[0].unexpected["OVERLOADED"]), (3, 3));
    }
}
