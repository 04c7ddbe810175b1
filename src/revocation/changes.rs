//! Changes for the log, and what becomes of them.

use countersign_token::revocation::Revocation;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::confirm::Pending;
use crate::domain::{audit::Event, revocation::Reason};

/// The changes that a transaction has made.
#[derive(Debug, Default)]
pub struct Changes {
    /// Revocations for the log, and for this replica's index once the transaction has committed.
    pub revocations: Vec<(Revocation, Reason)>,
    /// Revocations for this replica's index alone: other replicas made them a moment ago, and this one may not have heard.
    pub repeated: Vec<Revocation>,
    /// Events for the audit log.
    pub events: Vec<Event>,
}

/// The state of changes that have committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The moment from which on no replica accepts the tokens that were revoked, whatever is broken; None if nothing
    /// was to be.
    pub everywhere_by: Option<OffsetDateTime>,
    pub(super) confirmation: ConfirmationState,
}

/// Sessions that were ended.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// The number of sessions that were live.
    pub sessions: usize,
    /// The commit to wait for.
    pub committed: Committed,
}

/// The way by which it can be known that every replica has heard.
#[derive(Clone, Debug)]
pub(super) enum ConfirmationState {
    /// Nothing was asked to end: there is nothing to hear, and nothing to confirm.
    Nothing,
    /// Known when the others have applied this, which was committed then.
    From(Pending, Instant),
    /// The list of replicas could not be read since then.
    Never(Instant),
}

impl Changes {
    /// Changes that revoke nothing.
    pub fn only(events: Vec<Event>) -> Self {
        Self { events, ..Self::default() }
    }
}

impl Committed {
    /// The state where nothing was asked to end, or what was asked for means nothing.
    pub const NOTHING: Self = Self { everywhere_by: None, confirmation: ConfirmationState::Nothing };
}
