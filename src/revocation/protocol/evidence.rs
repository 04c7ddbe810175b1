//! The evidence of a restore: may sessions have come back to life that nobody remembers to have ended?
//!
//! A failover that loses the last seconds heals by itself, because the replicas put back what they remember. A restore of an
//! older backup may have lost more than that.

use std::time::Duration;

use countersign_token::revocation::{MAX_CLOCK_SKEW, RETENTION};

/// Age up to which a replica remembers revocations that the log has lost, with allowance for its clock.
const REMEMBERED: Duration = RETENTION.saturating_sub(MAX_CLOCK_SKEW);
/// Age of the last write to the database that is passed over without a word, where nobody remembers anything. It allows
/// for a failover, and the restart of all replicas with it.
const FAILOVER: Duration = Duration::from_secs(600);

/// The evidence in a loaded log, against what was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// True if this replica has followed a log before.
    pub remembers: bool,
    /// True if the log holds the last row that was followed; true if none was.
    pub continues: bool,
    /// True if the history of commits is the one that was known to the database itself: not promoted or restored since.
    pub is_settled: bool,
    /// Time since the database was written to last by a running service, by its own clock.
    pub age: Duration,
}

impl Evidence {
    /// True if revocations may be lost that no replica remembers.
    pub fn is_of_a_restore(self) -> bool {
        if self.remembers { !self.continues && self.age > REMEMBERED } else { !self.is_settled && self.age > FAILOVER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v14_what_may_be_lost_and_forgotten_is_a_restore_and_a_failover_is_none() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (remembers, continues, is_settled, age, expected) in [
            (true, true, false, hours(9), false),
            (true, false, false, minutes(5), false),
            (true, false, true, hours(1), false),
            (true, false, true, hours(9), true),
            (true, false, false, hours(9), true),
            (false, true, true, hours(9), false),
            (false, true, false, minutes(5), false),
            (false, true, false, minutes(30), true),
        ] {
            let evidence = Evidence { remembers, continues, is_settled, age };
            assert_eq!(evidence.is_of_a_restore(), expected, "{evidence:?}");
        }
    }
}
