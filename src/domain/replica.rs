//! The list of replicas: what each says of itself, and what another reads of it.

use std::time::Duration;

use uuid::Uuid;

use super::revocation::{LogIdentity, Position};

/// What a replica says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The last row that it has applied. It counts only in a log that holds this row (rule M4).
    pub applied: Position,
    /// Its counter.
    pub count: i64,
}

/// A replica as it stands on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// Made at the start of its process.
    pub id: Uuid,
    /// The newest row of the log that it has applied; 0 if the row that it named is not in this log.
    pub applied_seq: i64,
    /// How many heartbeats it has sent.
    pub count: i64,
    /// It refuses to verify when it has heard nothing for longer than this.
    pub max_staleness: Duration,
}

/// The log that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub log: LogIdentity,
    /// Whether confirmations count on it, as some replica has noted.
    pub settled: bool,
}

/// A reading of the list, as of one moment of one log.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The log that was read; None for one that no replica has named yet.
    pub log: Option<LogIdentity>,
    /// All replicas.
    pub replicas: Vec<Listed>,
    /// Those of the rows asked for that this log holds, by number and id.
    pub shown: Vec<Position>,
}
