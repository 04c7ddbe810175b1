//! The product: one file per operation. Joins the pure decisions of `domain` with keys, hashes, the revocation index and
//! the database. Knows neither gRPC nor HTTP.

pub mod base;
mod completion;
pub mod import;
pub mod keys;
pub mod login;
pub mod passwords;
pub mod proven;
pub mod refresh;
pub mod restores;
pub mod revoke;
pub mod rotation_queue;
pub mod sessions;
pub mod tokens;
pub mod users;
pub mod verify;

use std::sync::Arc;

use uuid::Uuid;

pub use self::completion::to_completion;
use self::{base::Base, keys::Keys, passwords::Passwords, proven::ProvenReads, rotation_queue::RotationQueue};
use crate::{
    audit::AuditLog,
    clock::Clock,
    config::Policy,
    crypto::seal::MasterKeys,
    domain::{audit::Actor, ids::SessionId, session::Session},
    error::Error,
    revocation::{Revocations, batch::RevocationBatcher, log::RevocationLog},
    store::Store,
};

/// Users and their sessions: all that needs no key. The command line works with this alone.
#[derive(Debug)]
pub struct Accounts {
    /// The database.
    pub store: Store,
    /// Passwords, and who may try one.
    pub passwords: Arc<Passwords>,
    /// What is known of revocations.
    pub revocations: Arc<Revocations>,
    /// The door by which sessions, users and keys change.
    pub log: Arc<RevocationLog>,
    /// What ends single sessions.
    pub ending: RevocationBatcher,
    /// Those who wait to read a session.
    pub session_reads: Arc<ProvenReads<SessionId, Session>>,
    /// Those who wait to rotate one.
    pub rotations: RotationQueue,
    /// What happened.
    pub audit: Arc<AuditLog>,
    /// Who administers through this process.
    pub operator: Actor,
    /// The time.
    pub clock: Clock,
    /// The deployment's choices.
    pub policy: Policy,
}

/// The whole service: accounts, and the keys that make and check tokens.
#[derive(Debug)]
pub struct Auth {
    /// Users and sessions.
    pub accounts: Accounts,
    /// The keys.
    pub keys: Arc<Keys>,
}

/// A page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The last id of the page before.
    pub after: Uuid,
    /// At most so many.
    pub size: u16,
}

impl Auth {
    /// These accounts, and no keys yet.
    pub fn new(accounts: Accounts, master: MasterKeys) -> Self {
        let hasher = Arc::clone(accounts.passwords.hasher());
        let keys = Arc::new(Keys::new(master, &accounts.policy, hasher, accounts.base()));
        Self { accounts, keys }
    }
}

impl Accounts {
    fn base(&self) -> Base {
        let Self { store, clock, operator, log, audit, .. } = self;
        let (log, audit) = (Arc::clone(log), Arc::clone(audit));
        Base { store: store.clone(), clock: clock.clone(), operator: *operator, log, audit }
    }

    /// Passes if this replica may sign tokens now: it has heard of the keys within the bound, and its wall clock, which is
    /// written into each token, is near enough to the database's.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::ClockWrong`].
    pub(crate) fn may_sign(&self) -> Result<(), Error> {
        self.revocations.fresh(None)?;
        if self.revocations.clock_distance() > self.policy.max_clock_distance {
            return Err(Error::ClockWrong);
        }
        Ok(())
    }
}
