//! The things that every part of `auth` works with.

use std::sync::Arc;

use countersign_token::clock::Clock;

use crate::{audit::AuditLog, domain::audit::Actor, metrics::Metrics, revocation::log::RevocationLog, store::Store};

/// The database, the time, and the logs. All clones are one.
#[derive(Clone, Debug)]
pub struct Base {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// The actor of what is administered through this process.
    pub operator: Actor,
    /// The door by which sessions, users and keys change.
    pub log: Arc<RevocationLog>,
    /// Counts of what is done here.
    pub metrics: Arc<Metrics>,
    /// Refusals, and events of what changed nothing.
    pub audit: Arc<AuditLog>,
}
