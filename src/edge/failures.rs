//! Lines of the log about calls that failed: one for each, with the reason, the caller, and what happened inside. Of those that
//! repeat themselves few are written, and how many were left out.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use countersign_token::clock::Clock;

use super::{
    answer::{Answer, Level},
    identity::Identity,
};
use crate::{domain::rate::Rate, error::Error};

/// Lines of one call and reason: so many at once, and one more each second.
const LINES: u32 = 10;
const LINES_REFILL: Duration = Duration::from_secs(1);

/// Stands for the reasons of streams that end.
const STREAM_ENDED: &str = "STREAM_ENDED";

/// Writes lines about calls that failed.
#[derive(Debug)]
pub struct Failures {
    clock: Clock,
    /// Repeats by call, reason and level, none of which a caller can make up.
    repeats: Mutex<HashMap<(&'static str, &'static str, Level), Repeats>>,
}

#[derive(Debug)]
struct Repeats {
    rate: Rate,
    left_out: u64,
}

/// The caller of a call, as the log names it.
#[derive(Clone, Debug)]
pub struct CalledBy {
    pub(super) identity: Option<Identity>,
    pub(super) peer: Option<IpAddr>,
}

impl CalledBy {
    /// A caller of whom the address is known at most.
    pub fn peer(peer: Option<IpAddr>) -> Self {
        Self { identity: None, peer }
    }
}

/// The identity, or else the address.
impl fmt::Display for CalledBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.identity, self.peer) {
            (Some(Identity::Admin), _) => f.write_str("token:admin"),
            (Some(Identity::Known(id)), _) => f.write_str(id.as_str()),
            (_, Some(peer)) => peer.fmt(f),
            (_, None) => f.write_str("unknown"),
        }
    }
}

impl Failures {
    /// Nothing has failed yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, repeats: Mutex::default() }
    }

    /// Writes that a call failed, unless too many such lines were written a moment ago.
    pub fn log(&self, call: &'static str, caller: &CalledBy, error: &Error) {
        let answer = Answer::of(error);
        let Some(left_out) = self.turn(call, answer.reason, answer.level) else {
            return;
        };
        let (reason, left_out) = (answer.reason, (left_out > 0).then_some(left_out));
        match answer.level {
            Level::Error => tracing::error!(call, reason, %caller, left_out, %error, "call failed"),
            Level::Warn => tracing::warn!(call, reason, %caller, left_out, %error, "call failed"),
            Level::Info => tracing::info!(call, reason, %caller, left_out, %error, "call refused"),
        }
    }

    /// Writes that a stream has ended for this reason before its caller left, unless too many such lines were written a moment ago.
    pub fn log_stream_end(&self, call: &'static str, caller: &CalledBy, reason: &str) {
        if let Some(left_out) = self.turn(call, STREAM_ENDED, Level::Info) {
            let left_out = (left_out > 0).then_some(left_out);
            tracing::info!(call, reason, %caller, left_out, "stream ended");
        }
    }

    /// The number of lines that were left out, if it is the turn of one now.
    fn turn(&self, call: &'static str, reason: &'static str, level: Level) -> Option<u64> {
        let now = self.clock.boot();
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let repeats = repeats
            .entry((call, reason, level))
            .or_insert_with(|| Repeats { rate: Rate::new(LINES, LINES_REFILL), left_out: 0 });
        if repeats.rate.take(1, now) {
            return Some(std::mem::take(&mut repeats.left_out));
        }
        repeats.left_out += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_lines_that_repeat_themselves_few_are_written_and_the_others_counted() {
        let failures = Failures::new(Clock::manual());
        let written = |call| (0..1000).filter_map(|_| failures.turn(call, "REASON", Level::Info)).count();
        assert_eq!(written("Verify"), LINES as usize);
        assert_eq!(written("Login"), LINES as usize, "each call has lines of its own");
        assert_eq!(failures.turn("Verify", "REASON", Level::Error), Some(0), "nobody hides a defect");
        failures.clock.advance(LINES_REFILL);
        assert_eq!(failures.turn("Verify", "REASON", Level::Info), Some(1000 - u64::from(LINES)));
        failures.clock.advance(LINES_REFILL);
        assert_eq!(failures.turn("Verify", "REASON", Level::Info), Some(0));
    }
}
