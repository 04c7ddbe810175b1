//! The product. Its files are the verbs, its folders own what the verbs work with: `users`, `sessions`, `keys` and
//! `passwords`. Each folder may use those after it. Joins the pure decisions of `domain` with keys, hashes, the
//! revocation index and the database. Knows neither gRPC nor HTTP.

pub mod base;
mod batch_turns;
mod completion;
pub mod keys;
pub mod login;
mod observed;
pub mod overview;
mod page;
pub mod passwords;
mod proven;
pub mod refresh;
pub mod revoke;
pub mod sessions;
pub mod tokens;
pub mod users;
pub mod verified;
pub mod verify;

use std::sync::Arc;

use countersign_token::verifier::Settings;

pub use self::page::Page;
use self::{
    base::Base, batch_turns::BatchTurns, keys::Keys, overview::LatestOverview, passwords::Passwords,
    sessions::Sessions, users::Users, verified::Verifier,
};
use crate::{
    crypto::seal::MasterKeys,
    domain::policy::{KeyPolicy, SessionPolicy, TokenPolicy},
    error::Error,
    revocation::Revocations,
};

/// The parts of the service that need no key. The command line works with this alone.
#[derive(Debug)]
pub struct Accounts {
    /// The database, the time, and the logs.
    pub base: Base,
    /// Passwords, and who may try one.
    pub passwords: Arc<Passwords>,
    /// The sessions of the users.
    pub sessions: Arc<Sessions>,
    /// The users.
    pub users: Arc<Users>,
}

/// The whole service: each of its parts owns its state.
#[derive(Debug)]
pub struct Auth {
    /// The database, the time, and the logs.
    pub base: Base,
    /// The keys.
    pub keys: Arc<Keys>,
    /// The verifier of access tokens.
    pub verifier: Arc<Verifier>,
    /// Passwords, and who may try one.
    pub passwords: Arc<Passwords>,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// The users.
    pub users: Arc<Users>,
    /// Choices of access tokens: what they say, and how they are read.
    pub token_policy: TokenPolicy,
    batches: BatchTurns,
    overview: LatestOverview,
}

impl Accounts {
    /// Users with these passwords, and their sessions.
    pub fn new(passwords: Passwords, sessions: SessionPolicy, base: Base) -> Self {
        let (passwords, sessions) = (Arc::new(passwords), Arc::new(Sessions::new(sessions, base.clone())));
        let users = Arc::new(Users::new(Arc::clone(&passwords), Arc::clone(&sessions), base.clone()));
        Self { base, passwords, sessions, users }
    }
}

impl Auth {
    /// An `Auth` of these accounts, without keys yet.
    pub fn new(accounts: Accounts, master: MasterKeys, keys: KeyPolicy, tokens: TokenPolicy) -> Self {
        let Accounts { base, passwords, sessions, users } = accounts;
        let TokenPolicy { issuer, leeway, verify_cache: remembered, .. } = &tokens;
        let settings = Settings { issuer: issuer.clone(), leeway: *leeway, remembered: *remembered };
        let verifier = Arc::new(Verifier::new(settings, Arc::clone(base.log.revocations().state())));
        let hasher = Arc::clone(passwords.hasher());
        let keys = Arc::new(Keys::new(master, keys, Arc::clone(&verifier), hasher, base.clone()));
        Self {
            base,
            keys,
            verifier,
            passwords,
            sessions,
            users,
            token_policy: tokens,
            batches: BatchTurns::new(),
            overview: LatestOverview::default(),
        }
    }

    /// The revocations that this replica knows.
    pub fn revocations(&self) -> &Revocations {
        self.base.log.revocations()
    }

    /// Passes if this replica may sign tokens now. It has to have heard of the keys within the bound. Its wall clock,
    /// which is written into each token, has to be near enough to the database's.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::ClockWrong`].
    fn may_sign(&self) -> Result<(), Error> {
        self.revocations().state().fresh(None)?;
        if self.revocations().clock_distance() > self.base.log.policy().max_clock_distance {
            return Err(Error::ClockWrong);
        }
        Ok(())
    }
}
