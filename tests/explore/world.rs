//! The state of everything: two databases, the replica that revokes (A) and those that verify (B, C), whose protocol is the
//! machines of the crate. Time stands still and what is kept grows older instead; ages beyond every bound are alike, and
//! counters are numbered anew, so that there are finitely many states.

use std::{fmt, time::Duration};

use countersign::{
    domain::revocation::Position,
    revocation::protocol::{CommitPosition, Follow, Observer, Standing, connection_lifetime, everywhere_within},
};
use countersign_token::clock::{BootInstant, Moment};
use uuid::Uuid;

use crate::{
    database::{At, Database, Lead, List, Log, Phase, Row},
    rules::Variant,
};

/// Now, always.
const NOW_SECONDS: u64 = 1000;
pub(crate) const NOW: Moment = ago(0);

/// The moment so many seconds ago.
pub(crate) const fn ago(age: u8) -> Moment {
    let nanos = (NOW_SECONDS - age as u64) * 1_000_000_000;
    Moment::new(BootInstant::from_nanos(nanos), nanos)
}

pub(crate) fn age(boot: BootInstant) -> u8 {
    NOW.boot().since(boot).as_secs() as u8
}

pub(crate) fn seconds(count: u8) -> Duration {
    Duration::from_secs(u64::from(count))
}

/// C, in seconds.
pub(crate) fn lifetime(variant: &Variant) -> u8 {
    connection_lifetime(seconds(variant.bound)).as_secs() as u8
}

/// From the answer to `everywhere_by`, in seconds.
pub(crate) fn everywhere(variant: &Variant) -> u8 {
    match variant.rules.a2 {
        true => everywhere_within(seconds(variant.bound)).as_secs() as u8,
        false => variant.bound,
    }
}

/// The id of a process on the list.
pub(crate) fn process(slot: usize) -> Uuid {
    Uuid::from_u128(100 + slot as u128)
}

#[derive(Clone, Hash)]
pub(crate) struct World {
    pub databases: [Database; 2],
    pub phase: Phase,
    /// Where the address leads: A, and the others.
    pub address: [At; 2],
    /// A token of the session was handed out.
    pub opened: bool,
    /// What happens once: a row lost, an earlier Revoke left over, another row on D1, on D2, a second promotion.
    pub once: [bool; 5],
    pub a: Revoking,
    pub verifying: Vec<Verifying>,
    pub calls: Vec<Call>,
    pub restarts: (u8, u8),
}

/// A's process. Its own freshness is not asked, so its follower's time stands still.
#[derive(Clone, Hash)]
pub(crate) struct Revoking {
    pub follow: Follow,
    pub connection: Option<Lead>,
    pub known: bool,
    pub standing: Standing,
    pub observer: Observer,
    pub pool: Option<Lead>,
    pub observing: Option<Lead>,
    pub question: Option<Question>,
}

/// A reading that is under way.
#[derive(Clone, Copy, Hash)]
pub(crate) struct Question {
    pub at: At,
    pub asked: u8,
    pub number: u8,
    pub list: List,
    pub log: Log,
    pub timeline: u8,
}

/// B's process, or C's.
#[derive(Clone, Hash)]
pub(crate) struct Verifying {
    /// Its place on the list.
    pub slot: usize,
    pub follow: Follow,
    pub connection: Option<Lead>,
    pub flight: Flight,
    /// Its index has the session.
    pub known: bool,
    /// The age of its state.
    pub published: Option<u8>,
}

/// Where its follower is within a heartbeat.
#[derive(Clone, Copy, Hash)]
pub(crate) enum Flight {
    Nothing,
    Heartbeat(Beat),
    /// Its new state is as of this age, and is still to be published.
    Publish(u8),
    /// The row told of says that the keys have changed; what is read of them counts for this.
    Keys(Position, Then),
}

#[derive(Clone, Copy, Hash)]
pub(crate) struct Beat {
    pub at: At,
    pub sent: u8,
    pub count: u8,
    pub log: Log,
    pub timeline: u8,
    pub is_committed: bool,
}

/// What follows on the keys.
#[derive(Clone, Copy, Hash)]
pub(crate) enum Then {
    /// The machine is told of the answer.
    Answer(Beat),
    /// The log of this timeline is loaded.
    Load(u8),
    /// The machine knows; the state of this age is published.
    Publish(u8),
    Nothing,
}

#[derive(Clone, Copy, Hash)]
pub(crate) enum Call {
    /// So many attempts were made.
    Idle(u8),
    /// M1 before its mend: committed, and now it reads.
    Committed(Lead),
    /// It has read.
    Read {
        lead: Lead,
        at: At,
        found: Row,
        newest: Position,
        was_live: bool,
    },
    /// It is committed and A has applied it; the first reading is made on the same connection.
    First {
        lead: Lead,
        commit: CommitPosition,
        since: u8,
    },
    Waiting {
        commit: CommitPosition,
        since: u8,
        is_confirmed: bool,
    },
    Denied {
        was_live: bool,
    },
    Over,
}

impl World {
    pub(crate) fn database(&self, at: At) -> &Database {
        &self.databases[at as usize]
    }

    pub(crate) fn database_mut(&mut self, at: At) -> &mut Database {
        &mut self.databases[at as usize]
    }

    /// The database that counts.
    pub(crate) fn primary(&self) -> At {
        if self.phase == Phase::Promoted { At::D2 } else { At::D1 }
    }

    /// Where a statement on this connection may arrive.
    pub(crate) fn reached(&self, lead: Lead) -> &'static [At] {
        match lead {
            Lead::To(At::D1) => &[At::D1],
            Lead::To(At::D2) => &[At::D2],
            Lead::Pooler if self.phase == Phase::Promoted => &[At::D1, At::D2],
            Lead::Pooler => &[At::D1],
        }
    }

    /// Whether a Verify that begins now is answered with yes.
    pub(crate) fn accepts(&self, bound: u8, replica: &Verifying) -> bool {
        self.opened && !replica.known && replica.published.is_some_and(|age| age <= bound)
    }

    /// So many calls have committed: readings that begin now count for them.
    pub(crate) fn readings(&self) -> u8 {
        let committed = |call: &&Call| matches!(call, Call::First { .. } | Call::Waiting { .. });
        self.calls.iter().filter(committed).count() as u8
    }
}

/// A step, as a line of a trace.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub who: &'static str,
    pub what: &'static str,
    pub at: Option<At>,
    pub note: &'static str,
    /// Nothing that is bound to happen.
    pub is_fault: bool,
}

pub(crate) fn step(who: &'static str, what: &'static str) -> Step {
    Step { who, what, at: None, note: "", is_fault: false }
}

impl Step {
    pub(crate) fn on(self, at: At) -> Self {
        Self { at: Some(at), ..self }
    }

    pub(crate) fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    pub(crate) fn fault(self) -> Self {
        Self { is_fault: true, ..self }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<3}{}", self.who, self.what)?;
        if let Some(at) = self.at {
            write!(f, " on {at:?}")?;
        }
        let comma = if self.note.is_empty() { "" } else { ": " };
        write!(f, "{comma}{}", self.note)
    }
}
