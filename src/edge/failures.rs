//! Lines of the log about calls that failed: one for each, with the reason, the caller, and what happened inside. Of those that
//! repeat themselves few are written, and how many were left out.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use countersign_token::clock::{BootInstant, Clock};

use super::{
    answer::{Answer, Level},
    identity::Identity,
};
use crate::{domain::rate::Rate, error::Error};

/// Lines of one call and reason: so many at once, and one more each second.
const LINES: u32 = 10;
const LINES_REFILL: Duration = Duration::from_secs(1);

/// Stands for the reasons of calls that nobody has.
const UNIMPLEMENTED: &str = "UNIMPLEMENTED";
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
    /// The moment of the last one that was left out.
    last: BootInstant,
}

/// Lines that were left out before the one that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LeftOut {
    number: Option<u64>,
    /// Seconds since the last of them: a flood may be long over.
    seconds_ago: Option<u64>,
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
        let Some(LeftOut { number: left_out, seconds_ago }) = self.turn(call, answer.reason, answer.level) else {
            return;
        };
        let (reason, left_out_seconds_ago) = (answer.reason, seconds_ago);
        match answer.level {
            Level::Error => {
                tracing::error!(call, reason, %caller, left_out, left_out_seconds_ago, %error, "call failed")
            }
            Level::Warn => tracing::warn!(call, reason, %caller, left_out, left_out_seconds_ago, %error, "call failed"),
            Level::Info => {
                tracing::info!(call, reason, %caller, left_out, left_out_seconds_ago, %error, "call refused")
            }
        }
    }

    /// Writes that somebody called an RPC that this port does not have, unless too many such lines were written a moment ago.
    pub fn log_unimplemented(&self, call: &'static str, caller: &CalledBy) {
        if let Some(LeftOut { number: left_out, seconds_ago }) = self.turn(call, UNIMPLEMENTED, Level::Info) {
            let left_out_seconds_ago = seconds_ago;
            tracing::info!(call, reason = UNIMPLEMENTED, %caller, left_out, left_out_seconds_ago, "call refused");
        }
    }

    /// Writes that a stream has ended for this reason before its caller left, unless too many such lines were written a moment ago.
    pub fn log_stream_end(&self, call: &'static str, caller: &CalledBy, reason: &str) {
        if let Some(LeftOut { number: left_out, seconds_ago }) = self.turn(call, STREAM_ENDED, Level::Info) {
            tracing::info!(call, reason, %caller, left_out, left_out_seconds_ago = seconds_ago, "stream ended");
        }
    }

    /// The lines that were left out, if it is the turn of one now.
    fn turn(&self, call: &'static str, reason: &'static str, level: Level) -> Option<LeftOut> {
        let now = self.clock.boot();
        let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        let repeats = repeats.entry((call, reason, level)).or_insert_with(|| Repeats {
            rate: Rate::new(LINES, LINES_REFILL),
            left_out: 0,
            last: now,
        });
        if repeats.rate.take(1, now) {
            let number = Some(std::mem::take(&mut repeats.left_out)).filter(|number| *number > 0);
            return Some(LeftOut { number, seconds_ago: number.map(|_| now.since(repeats.last).as_secs()) });
        }
        repeats.left_out += 1;
        repeats.last = now;
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
        let none = LeftOut::default();
        assert_eq!(failures.turn("Verify", "REASON", Level::Error), Some(none), "nobody hides a defect");
        failures.clock.advance(LINES_REFILL);
        let left_out = Some(1000 - u64::from(LINES));
        let told = |seconds| Some(LeftOut { number: left_out, seconds_ago: Some(seconds) });
        assert_eq!(failures.turn("Verify", "REASON", Level::Info), told(1));
        failures.clock.advance(Duration::from_secs(3600));
        assert_eq!(failures.turn("Verify", "REASON", Level::Info), Some(none));
        assert_eq!(failures.turn("Login", "REASON", Level::Info), told(3601), "a flood that is long over says so");
    }
}
