//! The feed: what the follower has read lately, for those who watch from other processes. They wait for wake-ups and
//! read here at their own pace. A watcher that was too slow, or comes from a log that is no more, begins anew with a
//! snapshot. A thousand of them cost the database nothing.

use std::{collections::VecDeque, sync::Arc};

use countersign_token::{clock::BootInstant, revocation::Revocation};

use crate::domain::revocation::{LogEntry, Position};

/// Number of rows of the log that are kept for watchers that are behind.
const KEPT: usize = 65_536;
/// Number of rows that are copied while the follower cannot add any.
const AT_ONCE: usize = 1000;
/// Time for which a snapshot serves watchers that begin; what has happened since comes after it. Slow readers hold on
/// to theirs.
const SNAPSHOT_SERVES: std::time::Duration = std::time::Duration::from_secs(10);

/// The next message for a watcher.
#[derive(Clone, Debug)]
pub enum News {
    /// The watcher knows everything.
    Nothing,
    /// The revocations that were added since, up to a position. There may be more.
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

    /// The newest row that was read.
    pub fn end(&self) -> Position {
        self.end
    }

    /// The news after `known`, or the first part of them. None: a snapshot has to be taken, and kept.
    pub fn after(&self, known: Option<Position>, now: BootInstant) -> Option<News> {
        let Some(place) = known.and_then(|known| self.place_after(known)) else {
            return self.kept(now);
        };
        let rest = self.rows.range(place..);
        let count = rest.len().min(AT_ONCE);
        if count == 0 {
            return Some(News::Nothing);
        }
        let last = self.rows.get(place + count - 1).filter(|_| count < rest.len());
        let position = last.map_or(self.end, |row| Position { seq: row.seq, id: Some(row.id) });
        Some(News::Added(rest.take(count).map(|row| row.revocation.clone()).collect(), position))
    }

    /// The place of the first row after `known`; None if that is no place that the feed remembers.
    fn place_after(&self, known: Position) -> Option<usize> {
        if known == self.start {
            return Some(0);
        }
        let index = usize::try_from(known.seq.checked_sub(self.start.seq)?.checked_sub(1)?).ok()?;
        (Some(self.rows.get(index)?.id) == known.id).then_some(index + 1)
    }

    /// The snapshot, as long as it serves.
    fn kept(&self, now: BootInstant) -> Option<News> {
        let serves = |snapshot: &&Snapshot| {
            now.since(snapshot.taken_at) < SNAPSHOT_SERVES && self.place_after(snapshot.position).is_some()
        };
        let snapshot = self.snapshot.as_ref().filter(serves)?;
        Some(News::Everything(Arc::clone(&snapshot.revocations), snapshot.position))
    }

    /// Keeps a snapshot for others. All rows up to `position` are in it; it was begun at `taken_at`.
    pub fn keep(&mut self, revocations: Arc<Vec<Revocation>>, position: Position, taken_at: BootInstant) {
        self.snapshot = Some(Snapshot { revocations, position, taken_at });
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

    /// Kind and number of the news of a watcher that asks until it knows everything.
    fn after(feed: &Feed, known: Option<Position>) -> (&'static str, usize) {
        let (mut known, mut count) = (known, 0);
        loop {
            match feed.after(known, BootInstant::from_nanos(0)) {
                Some(News::Nothing) if count == 0 => return ("nothing", 0),
                Some(News::Nothing) => {
                    assert_eq!(known, Some(feed.end));
                    return ("added", count);
                }
                Some(News::Added(rows, position)) => {
                    assert!((1..=AT_ONCE).contains(&rows.len()));
                    count += rows.len();
                    known = Some(position);
                }
                other => {
                    assert!(other.is_none() && count == 0);
                    return ("everything", 0);
                }
            }
        }
    }

    #[test]
    fn a_watcher_goes_on_where_it_was_or_begins_anew() {
        let mut feed = feed(4, 8);
        for (known, expected) in [
            (None, ("everything", 0)),
            (Some(at(8, 0)), ("nothing", 0)),
            (Some(at(6, 0)), ("added", 2)),
            (Some(at(4, 0)), ("added", 4)),
            (Some(at(3, 0)), ("everything", 0)),
            (Some(at(9, 0)), ("everything", 0)),
            // The same numbers in a log that is no more.
            (Some(at(6, 1000)), ("everything", 0)),
            (Some(at(4, 1000)), ("everything", 0)),
            (Some(Position { seq: i64::MIN, id: None }), ("everything", 0)),
        ] {
            assert_eq!(after(&feed, known), expected, "{known:?}");
        }
        feed.reset(at(8, 1000));
        assert_eq!(after(&feed, Some(at(8, 0))), ("everything", 0), "after a gap");
    }

    #[test]
    fn what_is_too_old_is_forgotten_and_asks_for_a_snapshot() {
        let kept = i64::try_from(KEPT).expect("small");
        let feed = feed(0, kept + 3);
        assert_eq!(feed.rows.len(), KEPT);
        assert_eq!(after(&feed, Some(at(3, 0))), ("added", KEPT));
        assert_eq!(after(&feed, Some(at(2, 0))), ("everything", 0));
    }

    #[test]
    fn watchers_that_begin_together_share_a_snapshot_and_get_the_rest_after_it() {
        let mut feed = feed(0, 2);
        let at_second = |seconds: u64| BootInstant::from_nanos(seconds * 1_000_000_000);
        assert!(feed.after(None, at_second(0)).is_none());
        feed.keep(Arc::new(vec![row(1, 0).revocation; 9]), feed.end(), at_second(0));
        feed.extend([row(3, 0)], at(3, 0));
        let Some(News::Everything(all, position)) = feed.after(None, at_second(9)) else {
            panic!("it serves for ten seconds");
        };
        assert_eq!((all.len(), position), (9, at(2, 0)));
        assert!(matches!(feed.after(Some(position), at_second(9)), Some(News::Added(rows, _)) if rows.len() == 1));
        assert!(feed.after(None, at_second(10)).is_none(), "it is too old");
        feed.keep(Arc::new(vec![]), feed.end(), at_second(10));
        feed.reset(at(9, 1000));
        assert!(feed.after(None, at_second(10)).is_none(), "it is of a log that is no more");
    }
}
