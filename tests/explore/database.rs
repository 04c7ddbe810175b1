//! The model of a database: what its statements read and change, and what becomes of a commit.

use std::hash::Hash;

use countersign::domain::revocation::{LogIdentity, Position};
use uuid::Uuid;

use crate::{
    rules::{Replication, Variant},
    world::World,
};

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// The primary at first.
    D1,
    /// Its standby.
    D2,
}

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lead {
    To(At),
    /// To whichever accepts connections, anew for each statement.
    Pooler,
}

/// The row of the session, or of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    Absent,
    Live,
    Ended,
}

/// Who wrote a row of the log, which is its id.
pub(crate) mod row {
    /// A Revoke that failed earlier.
    pub(crate) const EARLIER: u8 = 1;
    /// Of another session; the second is left over on the old primary.
    pub(crate) const OTHER: u8 = 2;
    pub(crate) const OTHER_LEFT: u8 = 3;
    /// Put back by the revoking replica; by the verifying ones: this and the next.
    pub(crate) const PUT_BACK: u8 = 4;
    /// The calls: this and the next.
    pub(crate) const CALL: u8 = 8;
}

const ROWS: usize = 8;

/// The ids of its rows, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    ids: [u8; ROWS],
    rows: u8,
}

impl Log {
    pub(crate) fn append(&mut self, id: u8) {
        self.ids[usize::from(self.rows)] = id;
        self.rows += 1;
    }

    fn positions(&self) -> impl Iterator<Item = Position> {
        let row = |(at, id): (usize, &u8)| Position { seq: at as i64 + 1, id: Some(Uuid::from_u128(u128::from(*id))) };
        self.ids.iter().take(usize::from(self.rows)).enumerate().map(row)
    }

    /// The newest row.
    pub(crate) fn head(&self) -> Position {
        self.positions().last().unwrap_or_default()
    }

    pub(crate) fn holds(&self, row: Position) -> bool {
        row == Position::default() || self.positions().any(|held| held == row)
    }

    /// The row that is known, if it is there, and those after it.
    pub(crate) fn from(&self, known: Position) -> Vec<Position> {
        self.positions().filter(|row| row.seq > known.seq || *row == known).collect()
    }

    /// Whether it says that the session has ended.
    pub(crate) fn revokes(&self) -> bool {
        self.ids.iter().take(usize::from(self.rows)).any(|id| ![row::OTHER, row::OTHER_LEFT].contains(id))
    }
}

/// A replica on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub applied: u8,
    pub count: u8,
}

/// The most processes that are ever on the list; the revoking replica itself is left out, as its observer does.
pub(crate) const LISTED: usize = 3;
pub(crate) type List = [Option<Entry>; LISTED];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    /// 0 while it is a standby.
    pub timeline: u8,
    /// The timeline that is stored as settled.
    pub settled: u8,
    pub session: Row,
    pub log: Log,
    pub list: List,
}

pub(crate) fn identity(timeline: u8) -> LogIdentity {
    LogIdentity(Uuid::from_u128(u128::from(timeline)))
}

impl Database {
    pub(crate) const EMPTY: Self = Self {
        timeline: 0,
        settled: 1,
        session: Row::Absent,
        log: Log { ids: [0; ROWS], rows: 0 },
        list: [None; LISTED],
    };

    pub(crate) fn identity(&self) -> LogIdentity {
        identity(self.timeline)
    }

    /// A replica's row: what it reports counts only if it is in this log (M4).
    pub(crate) fn report(&mut self, slot: usize, applied: Position, count: u8, is_checked: bool) {
        let known = !is_checked || self.log.holds(applied);
        self.list[slot] = Some(Entry { applied: if known { applied.seq as u8 } else { 0 }, count });
    }

    /// The same data, as a copy.
    pub(crate) fn copy(&self, timeline: u8) -> Self {
        Self { timeline, ..*self }
    }
}

/// How far the failover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Together,
    /// D1 is cut off; nobody is promoted.
    Cut,
    /// D2 is.
    Promoted,
}

/// What the client hears of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Answered,
    /// Nothing: it failed, hangs, or the answer was lost.
    Lost,
}

/// Commits a change on a server: every world in which that ends, and what is heard there.
pub(crate) fn commit(
    variant: &Variant,
    world: &World,
    at: At,
    change: impl Fn(&mut Database),
) -> Vec<(Ending, &'static str, World)> {
    let with = |changed: &[At]| {
        let mut world = world.clone();
        changed.iter().for_each(|at| change(world.database_mut(*at)));
        world
    };
    let mut ends = Vec::new();
    let hangs = match (variant.replication, at, world.phase) {
        (_, At::D2, _) => false,
        (Replication::Sync, At::D1, phase) => phase != Phase::Together,
        (Replication::Fenced, At::D1, phase) => phase == Phase::Promoted,
        (Replication::Async, At::D1, _) => false,
    };
    let is_copied = variant.replication == Replication::Sync && at == At::D1;
    if hangs {
        ends.push((Ending::Lost, "hangs", world.clone()));
        if variant.left_over && variant.replication == Replication::Sync {
            ends.push((Ending::Lost, "hangs, left over", with(&[at])));
        }
        if !variant.rules.m5 {
            ends.push((Ending::Answered, "its wait is cancelled", with(&[at])));
        }
        return ends;
    }
    let everywhere: &[At] = if is_copied { &[At::D1, At::D2] } else { &[at] };
    ends.push((Ending::Answered, "committed", with(everywhere)));
    if variant.losses {
        ends.push((Ending::Lost, "committed, answer lost", with(everywhere)));
        if is_copied && variant.failover {
            let mut world = with(&[At::D2]);
            world.phase = Phase::Cut;
            ends.push((Ending::Lost, "cut off within the commit, D2 has it", world));
        }
    }
    ends
}
