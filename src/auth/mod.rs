//! The product: one file per operation. Joins the pure decisions of `domain` with keys, hashes, the revocation index and
//! the database. Knows neither gRPC nor HTTP.

pub mod base;
pub mod decoys;
pub mod import;
pub mod keys;
pub mod login;
pub mod proven;
pub mod refresh;
pub mod restores;
pub mod revoke;
pub mod rotation_queue;
pub mod sessions;
pub mod throttle;
pub mod tokens;
pub mod users;
pub mod verify;

use std::{future::Future, sync::Arc};

use uuid::Uuid;

use self::{
    base::Base, decoys::Decoys, keys::Keys, proven::ProvenReads, rotation_queue::RotationQueue, throttle::Turns,
};
use crate::{
    audit::AuditLog,
    clock::Clock,
    config::Policy,
    crypto::{password::PasswordHasher, password_rules::PasswordRules, seal::MasterKeys},
    domain::{audit::Actor, ids::SessionId, session::Session, user::Username},
    error::Error,
    revocation::{Revocations, batch::RevocationBatcher, log::RevocationLog},
    store::{Store, credentials::Credentials},
};

/// Users and their sessions: all that needs no key. The command line works with this alone.
#[derive(Debug)]
pub struct Accounts {
    /// The database.
    pub store: Store,
    /// The hashing threads.
    pub hasher: Arc<PasswordHasher>,
    /// What a new password must not be.
    pub password_rules: PasswordRules,
    /// What is known of revocations.
    pub revocations: Arc<Revocations>,
    /// The door by which sessions, users and keys change.
    pub log: Arc<RevocationLog>,
    /// What ends single sessions.
    pub ending: RevocationBatcher,
    /// Those who wait to read a session.
    pub session_reads: Arc<ProvenReads<SessionId, Session>>,
    /// Those who wait to read a user's password hash.
    pub credential_reads: Arc<ProvenReads<Username, Credentials>>,
    /// Those who wait to rotate one.
    pub rotations: RotationQueue,
    /// Those who try a password.
    pub turns: Turns,
    /// What stands in for users that do not exist.
    pub decoys: Decoys,
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
        let Accounts { store, clock, operator, log, audit, hasher, policy, .. } = &accounts;
        let (log, audit) = (Arc::clone(log), Arc::clone(audit));
        let base = Base { store: store.clone(), clock: clock.clone(), operator: *operator, log, audit };
        let keys = Arc::new(Keys::new(master, policy, Arc::clone(hasher), base));
        Self { accounts, keys }
    }
}

impl Accounts {
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

/// Runs work on the database to its end even if the caller goes away, so that neither a transaction nor its connection
/// is cut short.
///
/// # Errors
/// Those of the work; [`Error::Internal`] when it panicked.
pub async fn to_completion<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(Error::internal)?
}
