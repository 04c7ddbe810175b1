//! The observer's half: from when on it may be said that no replica accepts what was revoked. That is when each has
//! applied the log that far, or has been silent for so long that it refuses by itself. It has to be seen in a log that
//! holds the revocation.
//!
//! Silence is measured by the observer's own clock: a counter in the replica's row did not move between two readings. No wall
//! clock is compared, and a stepped one confirms nothing.

use std::{collections::BTreeMap, time::Duration};

use countersign_token::clock::BootInstant;
use uuid::Uuid;

use super::standing::Standing;
use crate::domain::{
    proxy::{ProxyCount, ProxyGroup},
    replica::{Listed, Reading, SeenReplica},
    revocation::Position,
};

/// The question that a reading answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The number of the reading, from 1.
    pub number: u64,
    /// The moment at which the question was sent.
    pub asked_at: BootInstant,
}

/// Something that was committed, and from when on its confirmation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommitPosition {
    /// The row of the log that was committed.
    pub row: Position,
    /// Readings up to this one began before it was committed.
    pub reading: u64,
}

/// The outcome of a reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The number of the reading, from 1.
    pub reading: u64,
    /// True if confirmations count in the log that was read (rule A3).
    pub confirms: bool,
    /// Every replica that may accept tokens has applied the log up to here.
    pub applied_by_all: i64,
    /// The rows that this log holds, of those that were asked for.
    pub shown: Vec<Position>,
}

impl CommitPosition {
    /// True if a reading confirms the commit. The reading has to show its row, number and id (rule M3), for "applied",
    /// "silent" and "not on the list" alike. Another log says nothing of what was committed in this one.
    pub fn is_reached(&self, observed: &Observed) -> bool {
        observed.confirms
            && observed.reading > self.reading
            && observed.applied_by_all >= self.row.seq
            && observed.shown.contains(&self.row)
    }

    /// The number of proxies, and of those that have confirmed the commit, by the same reading.
    pub fn count(&self, observed: &Observed, proxies: &[ProxyGroup]) -> ProxyCount {
        let counts = observed.confirms && observed.reading > self.reading && observed.shown.contains(&self.row);
        ProxyCount::of(proxies, if counts { self.row.seq } else { i64::MAX })
    }
}

/// Times for which the counter of each other replica has stood still.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Observer(BTreeMap<Uuid, Seen>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Seen {
    count: i64,
    /// The counter had this value already.
    since: BootInstant,
}

impl Observer {
    /// Time for which the counter of `replica` is known to have stood still; it was read by a statement that was sent
    /// at `asked_at`.
    pub fn silent_for(&self, replica: &Listed, asked_at: BootInstant) -> Duration {
        let seen = self.0.get(&replica.id).filter(|seen| seen.count == replica.count);
        seen.map_or(Duration::ZERO, |seen| asked_at.since(seen.since))
    }

    /// The replicas of a list that was asked for at that moment, each with its silence.
    pub fn seen(&self, list: &[Listed], asked_at: BootInstant) -> Vec<SeenReplica> {
        let seen = |it: &Listed| SeenReplica {
            id: it.id,
            applied_seq: it.applied_seq,
            silent_for: self.silent_for(it, asked_at),
            max_staleness: it.max_staleness,
        };
        list.iter().map(seen).collect()
    }

    /// The counter of each replica, and since when it has had this value. For an explorer, as `Follow::parts` is.
    #[doc(hidden)]
    pub fn parts(&mut self) -> impl Iterator<Item = (&Uuid, &mut i64, &mut BootInstant)> {
        self.0.iter_mut().map(|(id, seen)| (id, &mut seen.count, &mut seen.since))
    }

    /// Takes over a list that was answered at `answered_at`.
    pub fn observe(&mut self, list: &[Listed], answered_at: BootInstant) {
        let before = std::mem::take(&mut self.0);
        for replica in list {
            let fresh = Seen { count: replica.count, since: answered_at };
            let seen = before.get(&replica.id).copied().filter(|seen| seen.count == replica.count).unwrap_or(fresh);
            self.0.insert(replica.id, seen);
        }
    }

    /// The outcome of a reading by the replica `own`, which applies what it revokes before it says so, and needs no confirmation.
    pub fn conclude(&self, own: Uuid, question: Question, reading: Reading, standing: &Standing) -> Observed {
        // A little more than its bound: no two clocks run at quite the same rate.
        let is_silent = |replica: &Listed| {
            self.silent_for(replica, question.asked_at) > replica.max_staleness + replica.max_staleness / 100
        };
        let waited_for = reading.replicas.iter().filter(|replica| replica.id != own && !is_silent(replica));
        Observed {
            reading: question.number,
            confirms: standing.confirms(reading.log),
            applied_by_all: waited_for.map(|replica| replica.applied_seq).min().unwrap_or(i64::MAX),
            shown: reading.shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{replica::Origin, revocation::LogIdentity};

    const OWN: Uuid = Uuid::from_u128(9);

    fn at(seconds: u64) -> BootInstant {
        BootInstant::from_nanos(seconds * 1_000_000_000)
    }

    fn question(seconds: u64) -> Question {
        Question { number: 1, asked_at: at(seconds) }
    }

    fn listed(id: u128, count: i64, applied_seq: i64) -> Listed {
        Listed { id: Uuid::from_u128(id), applied_seq, count, max_staleness: Duration::from_secs(10) }
    }

    fn conclude(observer: &Observer, list: &[Listed], asked: u64) -> i64 {
        let reading = Reading { log: None, replicas: list.to_vec(), shown: vec![], proxies: vec![] };
        observer.conclude(OWN, question(asked), reading, &Standing::default()).applied_by_all
    }

    fn observe(observer: &mut Observer, list: &[Listed], seconds: u64) -> i64 {
        observer.observe(list, at(seconds));
        conclude(observer, list, seconds)
    }

    #[test]
    fn everybody_counts_until_it_has_been_silent_for_its_bound() {
        let mut observer = Observer::default();
        assert_eq!(observe(&mut observer, &[], 0), i64::MAX, "nobody else is there");
        assert_eq!(observe(&mut observer, &[Listed { id: OWN, ..listed(0, 5, 1) }], 0), i64::MAX, "nor is oneself");
        let list = [listed(1, 5, 7), listed(2, 5, 4)];
        assert_eq!(observe(&mut observer, &list, 0), 4);
        for (moved, seconds, expected) in [(6, 10, 4), (7, 11, 7), (8, 1000, 7)] {
            let list = [listed(1, moved, 7), listed(2, 5, 4)];
            assert_eq!(observe(&mut observer, &list, seconds), expected, "at {seconds}");
        }
        let back = [listed(1, 9, 7), listed(2, 6, 4)];
        assert_eq!(observe(&mut observer, &back, 1001), 4, "one that beats again counts again");
        assert_eq!(observe(&mut observer, &back[..1], 1002), 7, "one that has left does not");
    }

    #[test]
    fn silence_is_measured_from_the_answer_of_one_reading_to_the_question_of_another() {
        let list = [listed(1, 5, 4)];
        let mut observer = Observer::default();
        observer.observe(&list, at(8));
        observer.observe(&list, at(30));
        assert_eq!(conclude(&observer, &list, 11), 4, "asked three seconds after the first answer");
        assert_eq!(conclude(&observer, &list, 31), i64::MAX);
    }

    #[test]
    fn v11_a_reading_confirms_only_if_it_shows_the_row_by_number_and_id() {
        let row = |seq, id| Position { seq, id: Some(Uuid::from_u128(id)) };
        let commit = CommitPosition { row: row(7, 1), reading: 3 };
        let good = Observed { reading: 4, confirms: true, applied_by_all: 7, shown: vec![row(6, 9), row(7, 1)] };
        assert!(commit.is_reached(&good));
        assert!(commit.is_reached(&Observed { applied_by_all: i64::MAX, ..good.clone() }), "all are silent or gone");
        for bad in [
            Observed { reading: 3, ..good.clone() },
            Observed { applied_by_all: 6, ..good.clone() },
            Observed { shown: vec![], applied_by_all: i64::MAX, ..good.clone() },
            Observed { shown: vec![row(7, 2)], applied_by_all: i64::MAX, ..good.clone() },
            Observed { confirms: false, ..good },
        ] {
            assert!(!commit.is_reached(&bad), "{bad:?}");
        }
    }

    #[test]
    fn v12_a_reading_of_a_log_without_standing_confirms_nothing() {
        let mut standing = Standing::default();
        let [before, now] = [1, 2].map(|id| LogIdentity(Uuid::from_u128(id)));
        standing.heard(Origin { log: now, settled: true }, at(0));
        for (log, expected) in [(Some(before), false), (None, false), (Some(now), true)] {
            let reading = Reading { log, replicas: vec![], shown: vec![], proxies: vec![] };
            assert_eq!(Observer::default().conclude(OWN, question(1), reading, &standing).confirms, expected);
        }
    }
}
