//! The feed: what the follower has read lately, for those who watch from other processes. They wait for wake-ups and
//! read here at their own pace. A watcher that was too slow, or comes from a log that is no more, begins anew with a
//! snapshot. A thousand of them cost the database nothing.

use std::{collections::VecDeque, sync::Arc};

use countersign_token::{clock::BootInstant, revocation::Revocation};

use crate::domain::revocation::{LogEntry, Position};

/// Number of rows of the log that are kept for watchers that are behind.
const KEPT: usize = 65_536;
/// Time for which a snapshot serves watchers that begin; what has happened since comes after it. Slow readers hold on
/// to theirs.
const SNAPSHOT_SERVES: std::time::Duration = std::time::Duration::from_secs(10);

/// The next message for a watcher.
#[derive(Clone, Debug)]
pub enum News {
    /// The watcher knows everything.
    Nothing,
    /// The revocations that were added since.
    Added(Vec<Revocation>, Position),
    /// Everything, in the place of what it knew.
    Everything(Arc<Vec<Revocation>>, Position),
}

/// The rows after `start`, up to `end`.
#[derive(Debug)]
pub struct Feed {
    start: Position,
    end: Position,
    rows: VecDeque<LogEntry>,
    snapshot: Option<Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    revocations: Arc<Vec<Revocation>>,
    position: Position,
    taken_at: BootInstant,
}

impl Default for Feed {
    fn default() -> Self {
        let start = Position { seq: 0, id: None };
        Self { start, end: start, rows: VecDeque::new(), snapshot: None }
    }
}

impl Feed {
    /// Adds what was read, in order; `end` is the last row. Says whether there was anything.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = LogEntry>, end: Position) -> bool {
        self.rows.extend(rows);
        let anything = std::mem::replace(&mut self.end, end) != end;
        while self.rows.len() > KEPT {
            if let Some(oldest) = self.rows.pop_front() {
                self.start = Position { seq: oldest.seq, id: Some(oldest.id) };
            }
        }
        anything
    }

    /// Begins anew at `position`, after a gap.
    pub fn reset(&mut self, position: Position) {
        *self = Self { start: position, end: position, ..Self::default() };
    }

    /// The news after `known`. `live` gives all that is known, and is asked only for a snapshot.
    pub fn after(&mut self, known: Option<Position>, now: BootInstant, live: impl FnOnce() -> Vec<Revocation>) -> News {
        match known.and_then(|known| self.rows_after(known)) {
            Some(rows) if rows.is_empty() => News::Nothing,
            Some(rows) => News::Added(rows, self.end),
            None => self.snapshot(now, live),
        }
    }

    /// The rows after `known`; None if it is not a place that the feed remembers.
    fn rows_after(&self, known: Position) -> Option<Vec<Revocation>> {
        let skip = if known == self.start {
            0
        } else {
            let index = usize::try_from(known.seq.checked_sub(self.start.seq)?.checked_sub(1)?).ok()?;
            let row = self.rows.get(index)?;
            if Some(row.id) != known.id {
                return None;
            }
            index + 1
        };
        Some(self.rows.iter().skip(skip).map(|row| row.revocation.clone()).collect())
    }

    fn snapshot(&mut self, now: BootInstant, live: impl FnOnce() -> Vec<Revocation>) -> News {
        let serves = |snapshot: &&Snapshot| {
            now.since(snapshot.taken_at) < SNAPSHOT_SERVES && self.rows_after(snapshot.position).is_some()
        };
        if let Some(snapshot) = self.snapshot.as_ref().filter(serves) {
            return News::Everything(Arc::clone(&snapshot.revocations), snapshot.position);
        }
        let (revocations, position) = (Arc::new(live()), self.end);
        self.snapshot = Some(Snapshot { revocations: Arc::clone(&revocations), position, taken_at: now });
        News::Everything(revocations, position)
    }
}

#[cfg(test)]
mod tests {
    use countersign_token::{ids::SessionId, revocation::Subject};
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;

    fn at(seq: i64, log: u128) -> Position {
        Position { seq, id: Some(Uuid::from_u128(log + u128::from(seq.unsigned_abs()))) }
    }

    fn row(seq: i64, log: u128) -> LogEntry {
        let subject = Subject::Session(SessionId(Uuid::from_u128(u128::from(seq.unsigned_abs()))));
        let revocation = Revocation { subject, expires_at: OffsetDateTime::UNIX_EPOCH };
        LogEntry { seq, id: at(seq, log).id.expect("an id"), revocation }
    }

    fn feed(from: i64, to: i64) -> Feed {
        let mut feed = Feed::default();
        feed.reset(at(from, 0));
        feed.extend((from + 1..=to).map(|seq| row(seq, 0)), at(to, 0));
        feed
    }

    fn after(feed: &mut Feed, known: Option<Position>) -> (&'static str, usize) {
        match feed.after(known, BootInstant::from_nanos(0), || vec![row(1, 0).revocation; 9]) {
            News::Nothing => ("nothing", 0),
            News::Added(rows, position) => {
                assert_eq!(position, feed.end);
                ("added", rows.len())
            }
            News::Everything(all, position) => {
                assert_eq!(position, feed.end);
                ("everything", all.len())
            }
        }
    }

    #[test]
    fn a_watcher_goes_on_where_it_was_or_begins_anew() {
        let mut feed = feed(4, 8);
        for (known, expected) in [
            (None, ("everything", 9)),
            (Some(at(8, 0)), ("nothing", 0)),
            (Some(at(6, 0)), ("added", 2)),
            (Some(at(4, 0)), ("added", 4)),
            (Some(at(3, 0)), ("everything", 9)),
            (Some(at(9, 0)), ("everything", 9)),
            // The same numbers in a log that is no more.
            (Some(at(6, 1000)), ("everything", 9)),
            (Some(at(4, 1000)), ("everything", 9)),
            (Some(Position { seq: i64::MIN, id: None }), ("everything", 9)),
        ] {
            assert_eq!(after(&mut feed, known), expected, "{known:?}");
        }
        feed.reset(at(8, 1000));
        assert_eq!(after(&mut feed, Some(at(8, 0))), ("everything", 9), "after a gap");
    }

    #[test]
    fn what_is_too_old_is_forgotten_and_asks_for_a_snapshot() {
        let kept = i64::try_from(KEPT).expect("small");
        let mut feed = feed(0, kept + 3);
        assert_eq!(feed.rows.len(), KEPT);
        assert_eq!(after(&mut feed, Some(at(3, 0))), ("added", KEPT));
        assert_eq!(after(&mut feed, Some(at(2, 0))), ("everything", 9));
    }

    #[test]
    fn those_who_begin_together_share_a_snapshot_and_get_the_rest_after_it() {
        let mut feed = feed(0, 2);
        let mut taken = 0;
        for (seconds, expected) in [(0, 1), (9, 1), (11, 2)] {
            let now = BootInstant::from_nanos(seconds * 1_000_000_000);
            let news = feed.after(None, now, || {
                taken += 1;
                vec![]
            });
            let News::Everything(_, position) = news else {
                panic!("{news:?}");
            };
            assert_eq!(taken, expected);
            feed.extend([row(feed.end.seq + 1, 0)], at(feed.end.seq + 1, 0));
            assert!(matches!(feed.after(Some(position), now, Vec::new), News::Added(..)));
        }
    }
}
