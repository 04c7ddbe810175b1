//! The list of replicas: what each says of itself, and what another reads of it.

use std::time::Duration;

use uuid::Uuid;

use super::{
    proxy::{ProxyCount, ProxyGroup},
    revocation::{LogIdentity, Position},
};

/// The report of a replica about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The last row that it has applied. It counts only in a log that holds this row (rule M4).
    pub applied: Position,
    /// The counter of the replica.
    pub count: i64,
}

/// A replica as it stands on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// The id that the replica made at the start of its process.
    pub id: Uuid,
    /// The newest row of the log that it has applied; 0 if the row that it named is not in this log.
    pub applied_seq: i64,
    /// Number of heartbeats that the replica has sent.
    pub count: i64,
    /// The bound of the replica: one that has heard nothing for longer refuses to verify.
    pub max_staleness: Duration,
}

/// A replica as another one has seen it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenReplica {
    /// The id of the replica.
    pub id: Uuid,
    /// The newest row of the log that it has applied.
    pub applied_seq: i64,
    /// Time for which it is known to have been silent.
    pub silent_for: Duration,
    /// The bound of the replica: silent for longer, it refuses by itself.
    pub max_staleness: Duration,
}

/// The silence after which a replica is not well: it heartbeats each second.
const SILENT: Duration = Duration::from_secs(5);

impl SeenReplica {
    /// True if it has been silent for longer than one that is well.
    pub fn is_silent(&self) -> bool {
        self.silent_for > SILENT.min(self.max_staleness)
    }
}

/// The report of a replica about the proxies that it tells, as it stands on the list.
#[derive(Clone, Debug)]
pub struct ListedProxies {
    /// The replica, with the counter of its reports, and the time after which none of its proxies accepts tokens.
    pub replica: Listed,
    /// The proxies.
    pub groups: Vec<ProxyGroup>,
}

/// The confirmation of something that was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// True if no replica accepts any more what was revoked, and no proxy, where these count.
    pub confirmed: bool,
    /// Proxies, as replicas have reported them.
    pub proxies: ProxyCount,
}

/// The log that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name of the log.
    pub log: LogIdentity,
    /// True if confirmations count on this log, as some replica has noted.
    pub settled: bool,
}

/// A reading of the list, as of one moment of one log.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The log that was read; None for one that no replica has named yet.
    pub log: Option<LogIdentity>,
    /// All replicas.
    pub replicas: Vec<Listed>,
    /// The rows that this log holds of those asked for, by number and id.
    pub shown: Vec<Position>,
    /// The proxies that replicas have reported.
    pub proxies: Vec<ListedProxies>,
}
