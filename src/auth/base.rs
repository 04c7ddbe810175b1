//! The things that every part of `auth` works with.

use std::sync::Arc;

use crate::{audit::AuditLog, clock::Clock, domain::audit::Actor, revocation::log::RevocationLog, store::Store};

/// The database, the time, and the logs. All clones are one.
#[derive(Clone, Debug)]
pub struct Base {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Whoever administers through this process.
    pub operator: Actor,
    /// The door by which sessions, users and keys change.
    pub log: Arc<RevocationLog>,
    /// Refusals, and events of what changed nothing.
    pub audit: Arc<AuditLog>,
}
