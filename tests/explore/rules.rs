//! What is explored: a variant of the world, and the rules that its statements and drivers keep. All rules kept is what
//! `docs/revocation.md` demands; each switch takes one back to what was done before it.

/// How commits reach the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replication {
    /// A commit of the primary is answered when the standby has it.
    Sync,
    /// Before; and after the promotion of the standby the old primary goes on.
    Async,
    /// Before; and after the promotion the old primary commits nothing.
    Fenced,
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nobody is connected, nothing is known.
    Nothing,
    /// Everybody is connected to the primary and fresh.
    Following,
    /// Before, and the standby has just been promoted, as a copy.
    Promoted,
    /// Before, and the standby has not heard of the other replicas.
    Unlisted,
    /// Promoted, and all that verify follow the standby, where the address leads; the one that revokes has noticed nothing.
    Moved,
    /// Promoted, and the one that revokes follows the standby, whose log is settled.
    Settled,
    /// Promoted, and everybody follows the standby, whose log is settled.
    Over,
}

/// Whom the address leads to the promoted standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    All,
    OnlyTheRevoking,
    /// Connections lead through a pooler: each statement may reach another server.
    Pooler,
}

/// What is asked of the replica that revokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Revoke,
    /// A call that is denied if the session has ended or is not there; Login, with the hash for the session, is the same.
    Refresh,
}

/// What the replica that revokes does beside its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Everything,
    /// Its observer reads nothing.
    Following,
    Nothing,
}

/// How an answer is made that rests on what was read (M1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    ReadThenCommit,
    CommitThenRead,
    Read,
}

/// What a reading has to show of the row that it confirms (M3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Row,
    Number,
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub m1: Proof,
    /// Absence is logged.
    pub m2: bool,
    pub m3: Shown,
    /// A report counts only where its row is.
    pub m4: bool,
    /// A cancelled wait is no commit.
    pub m5: bool,
    /// A heartbeat counts only on a young connection, and old ones are replaced.
    pub a1: bool,
    /// `everywhere_by` has the lifetime of a connection added.
    pub a2: bool,
    /// A new log confirms nothing for a while.
    pub a3: bool,
    /// A heartbeat that breaks a silence publishes nothing.
    pub silence: bool,
    /// A heartbeat counts only as committed.
    pub beat_commits: bool,
    /// The first reading of the list, which the call makes, is shown to the observer.
    pub first_observed: bool,
    /// Keys are read by a statement that shows the row which says so.
    pub keys_shown: bool,
    /// Keys are read before the follower's machine is told of their row.
    pub keys_first: bool,
}

pub(crate) const RULES: Rules = Rules {
    m1: Proof::ReadThenCommit,
    m2: true,
    m3: Shown::Row,
    m4: true,
    m5: true,
    a1: true,
    a2: true,
    a3: true,
    silence: true,
    beat_commits: true,
    first_observed: true,
    keys_shown: true,
    keys_first: true,
};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub replication: Replication,
    pub start: Start,
    pub address: Address,
    pub calls: &'static [Call],
    pub beside: Beside,
    /// The session is there from the beginning.
    pub is_open: bool,
    /// Replicas that verify, beside the one that revokes.
    pub verifying: u8,
    /// In seconds, which are the ticks.
    pub bound: u8,
    /// The primary may be cut off.
    pub failover: bool,
    /// The row of the session may get lost.
    pub lost_row: bool,
    /// What hung on the old primary may become visible there.
    pub left_over: bool,
    /// Another row may be in the log.
    pub other_row: bool,
    /// Answers and connections may get lost at any time.
    pub losses: bool,
    /// What is revoked is a key, which is read by a statement of its own.
    pub keys: bool,
    /// How often a verifying replica, and the revoking one, may start anew.
    pub restarts: (u8, u8),
    /// A second standby of D1 may be promoted, which has nothing of D2's, with this timeline.
    pub again: Option<u8>,
    pub rules: Rules,
}

pub(crate) const VARIANT: Variant = Variant {
    replication: Replication::Sync,
    start: Start::Promoted,
    address: Address::All,
    calls: &[Call::Revoke],
    beside: Beside::Everything,
    is_open: false,
    verifying: 1,
    bound: 1,
    failover: true,
    lost_row: false,
    left_over: false,
    other_row: false,
    losses: true,
    keys: false,
    restarts: (0, 0),
    again: None,
    rules: RULES,
};
