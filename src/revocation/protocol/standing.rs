//! The standing of a log: how long it has been known, and whether confirmations on it count (rule A3).
//!
//! Suppose that a standby is promoted which had not received all commits. Then a replica may be fresh from the old
//! primary and on no list of the new one. So nothing is confirmed in a log that is new until every state that is fresh
//! from the one before has become too old.

use std::time::Duration;

use countersign_token::clock::BootInstant;

use super::bounds::connection_lifetime;
use crate::domain::{replica::Origin, revocation::LogIdentity};

/// The log that this replica follows, and since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Standing(Option<Known>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known {
    log: LogIdentity,
    /// The moment at which the first answer of the log was there.
    since: BootInstant,
    settled: bool,
}

impl Standing {
    /// An answer is there at `now`, and says whose it is. Says whether this log is another than the one before.
    pub fn heard(&mut self, Origin { log, settled }: Origin, now: BootInstant) -> bool {
        let before = self.0.replace(Known { log, since: now, settled });
        if let Some(same) = before.filter(|before| before.log == log) {
            self.0 = Some(Known { settled: same.settled || settled, ..same });
            return false;
        }
        before.is_some()
    }

    /// The moment since which the log has been known. For an explorer, as `Follow::parts` is.
    #[doc(hidden)]
    pub fn parts(&mut self) -> Option<&mut BootInstant> {
        self.0.as_mut().map(|known| &mut known.since)
    }

    /// Takes note of it when every state from an earlier log is too old by now, where `largest` is the largest bound of any
    /// replica. Gives the log if that is news.
    pub fn settle(&mut self, largest: Duration, now: BootInstant) -> Option<LogIdentity> {
        let known = self.0.as_mut().filter(|known| !known.settled)?;
        known.settled = now.since(known.since) > connection_lifetime(largest) + largest;
        known.settled.then_some(known.log)
    }

    /// True if a reading of this log may confirm anything.
    pub fn confirms(&self, log: Option<LogIdentity>) -> bool {
        self.0.is_some_and(|known| known.settled && Some(known.log) == log)
    }

    /// True if what was committed in this log was committed in the one that is followed.
    pub fn is_followed(&self, log: Option<LogIdentity>) -> bool {
        self.0.is_none_or(|known| Some(known.log) == log)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LOG: LogIdentity = LogIdentity(Uuid::from_u128(1));
    const PROMOTED: LogIdentity = LogIdentity(Uuid::from_u128(2));
    const BOUND: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn p1_a_log_that_is_new_confirms_nothing_until_what_was_fresh_before_it_is_stale() {
        let mut standing = Standing::default();
        assert!(!standing.confirms(Some(LOG)), "nothing is known");
        assert!(!standing.heard(Origin { log: LOG, settled: true }, at(0)), "the first");
        assert!(standing.confirms(Some(LOG)) && !standing.confirms(Some(PROMOTED)));
        assert!(standing.heard(Origin { log: PROMOTED, settled: false }, at(10)), "another");
        assert!(!standing.confirms(Some(LOG)) && !standing.confirms(Some(PROMOTED)));
        assert!(
            !standing.heard(Origin { log: PROMOTED, settled: false }, at(40)),
            "heard of again, and as old as before"
        );
        assert_eq!(standing.settle(BOUND, at(45)), None);
        assert_eq!(standing.settle(BOUND, at(46)), Some(PROMOTED));
        assert_eq!(standing.settle(BOUND, at(47)), None, "said once");
        assert!(standing.confirms(Some(PROMOTED)));
        let mut later = Standing::default();
        later.heard(Origin { log: PROMOTED, settled: false }, at(46));
        later.heard(Origin { log: PROMOTED, settled: true }, at(47));
        assert!(later.confirms(Some(PROMOTED)) && !later.confirms(None), "another replica has settled it");
    }
}
