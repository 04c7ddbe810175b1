//! The follower's half: how a replica comes to know the log, and when what it knows counts as fresh.
//!
//! ```text
//! Connect -> Register -> (Load, if the log is not the one that was known) -> Heartbeat, Heartbeat, ...
//!    ^                                    ^-------- a gap --------'              |
//!    '---------- the connection is old, or a statement failed -----------------'
//! ```

use std::time::Duration;

use countersign_token::clock::Moment;

use super::bounds::connection_lifetime;
use crate::domain::{
    replica::Report,
    revocation::{LogIdentity, Position},
};

/// The state of a follower. It outlives its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follow {
    bound: Duration,
    connection: Option<Connection>,
    /// The log that has been loaded and followed since; None before the first load and after a gap.
    followed: Option<LogIdentity>,
    /// True once a log was loaded.
    loaded: bool,
    /// The last row that is applied.
    position: Position,
    /// The row that the database was last told of.
    reported: Position,
    /// The moment at which the last statement was sent that moved this replica's counter and was answered as committed.
    counted_at: Option<Moment>,
    /// Number of times that the counter has been moved. Counted here: one that the database has lost must not come back
    /// to a number that it has had.
    count: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Connection {
    /// The moment at which the connection began to be made, before its name was resolved.
    began_at: Moment,
    /// The log that it showed when this replica registered.
    registered: Option<LogIdentity>,
    /// True once a heartbeat was answered on this connection.
    has_heartbeat: bool,
}

/// The next thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Make a new connection.
    Connect,
    /// Put this replica on the list, so that its bound counts before its first heartbeat is sent.
    Register,
    /// Read the whole log, and put back what it lacks.
    Load,
    /// Send a heartbeat when the next one is due.
    Heartbeat,
}

/// The part of an answer that the protocol looks at.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The log that answered.
    pub log: LogIdentity,
    /// The number of the log's newest row.
    pub head: i64,
    /// The row that was reported, if it is there, and those after it, in order.
    pub rows: &'a [Position],
}

/// The meaning of an answer. What its rows say has been carried out before the follower is told of it. The follower
/// counts them as applied from then on, reports them on every connection that follows, and does not ask for them again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer does not follow on what is known: the whole log is to be loaded.
    Gap,
    /// The rows of the answer are new; the state stays as fresh as it was.
    Applied,
    /// The rows of the answer are new, and the state is complete as of this moment.
    Fresh(Moment),
}

impl Follow {
    /// A follower that knows nothing, of a replica that refuses what it has not heard of for longer than `bound`.
    pub fn new(bound: Duration) -> Self {
        Self {
            bound,
            connection: None,
            followed: None,
            loaded: false,
            position: Position::default(),
            reported: Position::default(),
            counted_at: None,
            count: 0,
        }
    }

    /// The next thing to do.
    pub fn next(&self, now: Moment) -> Next {
        match &self.connection {
            None => Next::Connect,
            // Half of its lifetime is left for the heartbeat that is sent last.
            Some(old) if old.has_heartbeat && now.since(old.began_at) > connection_lifetime(self.bound) / 2 => {
                Next::Connect
            }
            Some(Connection { registered: None, .. }) => Next::Register,
            Some(Connection { registered, .. }) if *registered != self.followed => Next::Load,
            Some(_) => Next::Heartbeat,
        }
    }

    /// True if the log holds rows that are applied and have not been reported.
    pub fn has_news(&self) -> bool {
        self.reported != self.position
    }

    /// The last row that is applied.
    pub fn position(&self) -> Position {
        self.position
    }

    /// True if a log was ever loaded.
    pub fn has_loaded(&self) -> bool {
        self.loaded
    }

    /// The log that is followed.
    pub fn log(&self) -> Option<LogIdentity> {
        self.followed
    }

    /// The parts that time and repetition change: when the connection began to be made, when the counter was moved
    /// last, and the counter. An explorer with a clock that stands still lets these grow older instead, and counts
    /// anew.
    #[doc(hidden)]
    pub fn parts(&mut self) -> (Option<&mut Moment>, Option<&mut Moment>, &mut i64) {
        let began_at = self.connection.as_mut().map(|connection| &mut connection.began_at);
        (began_at, self.counted_at.as_mut(), &mut self.count)
    }

    /// A connection is there that began to be made at `began_at`, before its name was resolved.
    pub fn connected(&mut self, began_at: Moment) {
        self.connection = Some(Connection { began_at, registered: None, has_heartbeat: false });
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connection = None;
    }

    /// The report of a statement that moves the counter: a registration or a heartbeat.
    pub fn report(&mut self) -> Report {
        self.count += 1;
        Report { applied: self.position, count: self.count }
    }

    /// The registration that was sent at `sent_at` has been answered as committed, by this log.
    pub fn registered(&mut self, sent_at: Moment, log: LogIdentity) {
        if let Some(connection) = &mut self.connection {
            connection.registered = Some(log);
            self.counted_at = Some(sent_at);
            self.reported = self.position;
        }
    }

    /// The whole of this log has been read and carried out, up to `position`, and what it lacked was put back.
    pub fn loaded(&mut self, log: LogIdentity, position: Position) {
        self.followed = Some(log);
        self.loaded = true;
        self.position = position;
        self.reported = Position::default();
        if let Some(connection) = &mut self.connection {
            // What was read is of this log, whatever registered this replica: heartbeats tell.
            connection.registered = Some(log);
        }
    }

    /// The log is to be loaded again before anything counts as fresh.
    pub fn distrust(&mut self) {
        self.followed = None;
    }

    /// The heartbeat that was sent at `sent_at` has been answered as committed.
    ///
    /// It makes the state fresh as of its sending, because only a heartbeat commits a write. A database that accepts
    /// none is not the one that revocations are written to. Three more conditions:
    /// - it follows on what is known, in the log that was loaded;
    /// - it was answered within the bound since the last counted statement was sent. Others may otherwise have taken
    ///   this replica for silent, and confirmed what this heartbeat was too early to read;
    /// - its connection is young: an older one may lead to a database that the others have left (rule A1).
    pub fn heartbeat_answered(&mut self, sent_at: Moment, now: Moment, reply: Reply<'_>) -> Outcome {
        let before = self.counted_at.replace(sent_at);
        let broke_silence = before.is_none_or(|before| now.since(before) > self.bound);
        let began_at = self.connection.as_mut().map(|connection| {
            connection.has_heartbeat = true;
            connection.began_at
        });
        let young = began_at.is_some_and(|began| sent_at.since(began) <= connection_lifetime(self.bound));
        match self.read_answered(reply) {
            Outcome::Applied if young && !broke_silence => Outcome::Fresh(sent_at),
            outcome => outcome,
        }
    }

    /// A statement between two heartbeats, which moves no counter and commits nothing that lasts, has been answered.
    pub fn read_answered(&mut self, reply: Reply<'_>) -> Outcome {
        self.reported = self.position;
        if self.followed != Some(reply.log) || !follows_on(self.position, reply.head, reply.rows) {
            self.followed = None;
            return Outcome::Gap;
        }
        self.position = reply.rows.last().copied().filter(|row| row.seq == reply.head).unwrap_or(self.position);
        Outcome::Applied
    }
}

/// True if `rows` are exactly the known row and those after it up to `head`.
fn follows_on(position: Position, head: i64, rows: &[Position]) -> bool {
    let (known, new) = match rows.split_first() {
        Some((first, rest)) if first.seq == position.seq => (first.id, rest),
        _ => (None, rows),
    };
    known == position.id && position.seq <= head && new.iter().map(|row| row.seq).eq(position.seq + 1..=head)
}

#[cfg(test)]
mod tests {
    use countersign_token::clock::BootInstant;
    use uuid::Uuid;

    use super::*;

    const BOUND: Duration = Duration::from_secs(30);
    const LOG: LogIdentity = LogIdentity(Uuid::from_u128(1));
    const PROMOTED: LogIdentity = LogIdentity(Uuid::from_u128(2));

    fn at(seconds: u64) -> Moment {
        Moment::new(BootInstant::from_nanos(seconds * 1_000_000_000), seconds * 1_000_000_000)
    }

    /// Rows with these numbers, of the log whose ids begin at `generation`.
    fn rows(seqs: &[i64], generation: u128) -> Vec<Position> {
        let id = |seq: i64| Some(Uuid::from_u128(generation + u128::from(seq.unsigned_abs())));
        seqs.iter().map(|seq| Position { seq: *seq, id: id(*seq) }).collect()
    }

    /// Connected, registered and loaded at that second.
    fn following(seconds: u64) -> Follow {
        let mut follow = Follow::new(BOUND);
        follow.connected(at(seconds));
        follow.registered(at(seconds), LOG);
        follow.loaded(LOG, Position::default());
        follow
    }

    fn beat(follow: &mut Follow, sent: u64, answered: u64, log: LogIdentity) -> Outcome {
        follow.heartbeat_answered(at(sent), at(answered), Reply { log, head: 0, rows: &[] })
    }

    #[test]
    fn v4_a_gap_of_any_kind_is_noticed() {
        let (start, fourth) = (Position::default(), rows(&[4], 0)[0]);
        for (position, head, seqs, expected) in [
            (start, 0, &[][..], true),
            (start, 2, &[1, 2], true),
            (start, 2, &[2], false),
            (fourth, 4, &[4], true),
            (fourth, 6, &[4, 5, 6], true),
            (fourth, 4, &[], false),
            (fourth, 6, &[5, 6], false),
            (fourth, 6, &[4, 6], false),
            (fourth, 6, &[4, 5], false),
            (fourth, 6, &[4], false),
            (fourth, 7, &[4, 5, 7], false),
            (fourth, 3, &[], false),
        ] {
            assert_eq!(follows_on(position, head, &rows(seqs, 0)), expected, "{position:?} {head} {seqs:?}");
            // The same numbers in a log that was written anew.
            let known = position.seq == 0;
            assert_eq!(follows_on(position, head, &rows(seqs, 1000)), expected && known);
        }
    }

    #[test]
    fn each_connection_registers_first_and_only_a_log_that_is_not_known_is_loaded() {
        let mut follow = Follow::new(BOUND);
        assert_eq!(follow.next(at(0)), Next::Connect);
        follow.connected(at(0));
        assert_eq!(follow.next(at(0)), Next::Register);
        follow.registered(at(0), LOG);
        assert_eq!(follow.next(at(0)), Next::Load);
        follow.loaded(LOG, Position::default());
        assert_eq!(follow.next(at(0)), Next::Heartbeat);
        follow.connected(at(1));
        follow.registered(at(1), LOG);
        assert_eq!(follow.next(at(1)), Next::Heartbeat, "the log that is known");
        follow.connected(at(2));
        follow.registered(at(2), PROMOTED);
        assert_eq!(follow.next(at(2)), Next::Load, "another one");
        follow.loaded(PROMOTED, Position::default());
        follow.distrust();
        assert_eq!(follow.next(at(2)), Next::Load);
    }

    #[test]
    fn v12_a_connection_is_made_anew_before_it_is_too_old_to_count() {
        let mut follow = following(0);
        assert_eq!(follow.next(at(9)), Next::Heartbeat, "each is given one heartbeat");
        assert_eq!(beat(&mut follow, 6, 6, LOG), Outcome::Applied, "sent too late to count");
        assert_eq!(follow.next(at(6)), Next::Connect);
        let mut follow = following(0);
        assert_eq!(beat(&mut follow, 5, 12, LOG), Outcome::Fresh(at(5)), "sent in time, however late it was answered");
    }

    #[test]
    fn a_heartbeat_that_breaks_a_silence_or_comes_from_another_log_makes_nothing_fresh() {
        let mut follow = following(0);
        assert_eq!(beat(&mut follow, 1, 2, LOG), Outcome::Fresh(at(1)));
        assert_eq!(beat(&mut follow, 2, 32, LOG), Outcome::Applied);
        assert_eq!(beat(&mut follow, 3, 3, LOG), Outcome::Fresh(at(3)));
        assert_eq!(beat(&mut follow, 4, 4, PROMOTED), Outcome::Gap);
        assert_eq!(beat(&mut follow, 5, 5, LOG), Outcome::Gap, "until it was loaded");
    }
}
