//! Passwords: the rules for new ones, hashing them, and checking them. Checks (`check.rs`) are limited (`throttle.rs`),
//! and use decoys where there is no such user (`decoys.rs`).

mod attempt;
mod check;
mod decoys;
mod throttle;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use self::{attempt::PasswordAttempt, throttle::Source};
use self::{decoys::Decoys, throttle::Throttle};
use super::{base::Base, completion::to_completion, proven::ProvenReads};
use crate::{
    crypto::{password::PasswordHasher, password_rules::PasswordRules, phc},
    domain::{
        password::Password,
        password_hash::PasswordHash,
        policy::{PasswordPolicy, PepperMode, ThrottlePolicy, WeakHashes},
        user::Username,
    },
    error::Error,
    store::{
        Conn,
        credentials::{self, UserWithHash},
    },
};

/// Times that a password is looked at while its stored hash changes.
pub const ATTEMPTS: u32 = 3;
/// Number of users whose hashes are looked at for their kinds.
const SAMPLE: u32 = 10_000;

/// Passwords, and who may try one.
#[derive(Debug)]
pub struct Passwords {
    hasher: Arc<PasswordHasher>,
    min_length: usize,
    weak_hashes: WeakHashes,
    rules: PasswordRules,
    pepper: PepperMode,
    throttle: Throttle,
    decoys: Decoys,
    /// Readings of a user's password hash that callers share.
    reads: Arc<ProvenReads<Username, UserWithHash>>,
    /// Longest time that a Login waits whose caller gives no deadline.
    deadline: Duration,
    base: Base,
}

impl Passwords {
    /// Starts the threads that hash.
    ///
    /// # Errors
    /// [`Error::Internal`] when there can be none.
    pub fn new(policy: PasswordPolicy, throttle: ThrottlePolicy, base: Base) -> Result<Self, Error> {
        let PasswordPolicy { min_length, blocklist, min_score, pepper, weak_hashes, hashing } = policy;
        let hasher = PasswordHasher::start(hashing)?;
        hasher.measure(base.metrics.hashing.clone());
        Ok(Self {
            hasher: Arc::new(hasher),
            min_length,
            weak_hashes,
            rules: PasswordRules::new(blocklist, min_score),
            pepper,
            throttle: Throttle::new(throttle.failures, base.store.clone(), base.clock.clone()),
            decoys: Decoys::default(),
            reads: Arc::default(),
            deadline: throttle.deadline,
            base,
        })
    }

    /// Least number of characters of a new password.
    pub fn min_length(&self) -> usize {
        self.min_length
    }

    /// The choice of weak hashes that an import brings.
    pub(super) fn weak_hashes(&self) -> WeakHashes {
        self.weak_hashes
    }

    /// The hashing threads.
    pub fn hasher(&self) -> &Arc<PasswordHasher> {
        &self.hasher
    }

    /// Reads the blocklist, if there is one; says how many passwords are on it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the setting.
    pub fn load_rules(&self) -> Result<Option<usize>, Error> {
        self.rules.load()
    }

    /// Passes if `password` may be the new one of the user of that name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `field`.
    pub(super) async fn check_new(
        &self,
        field: &'static str,
        password: &Password,
        name: &Username,
    ) -> Result<(), Error> {
        self.rules.check(field, password, name).await
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::KeyUnusable`]; [`Error::InvalidArgument`] in a process that has no pepper, where one
    /// is required.
    pub(super) async fn hash(&self, password: Password) -> Result<PasswordHash, Error> {
        let hash = self.hasher.hash(password, None).await?;
        self.check_pepper(&hash).map(|()| hash)
    }

    /// Passes if hashes of other systems, which have no pepper of ours, are of use.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the setting.
    pub(super) fn may_import(&self) -> Result<(), Error> {
        let advice = "required: hashes of other systems have no pepper of ours, and would be of no use";
        if self.pepper == PepperMode::Required { Err(Error::invalid("password-pepper", advice)) } else { Ok(()) }
    }

    /// Passes if a password may be checked by this hash, as far as its pepper goes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the setting.
    pub(super) fn check_pepper(&self, hash: &PasswordHash) -> Result<(), Error> {
        let advice =
            "required: a hash without a pepper is of no use; let a server hash the password (CreateUser, SetPassword)";
        let fits = self.pepper != PepperMode::Required || phc::is_peppered(hash);
        if fits { Ok(()) } else { Err(Error::invalid("password-pepper", advice)) }
    }

    /// The hash that stands in for that of an unknown name. None: one of today's cost.
    pub fn decoy_of(&self, name: &Username) -> Option<PasswordHash> {
        self.decoys.of(name)
    }

    /// True once the users' hashes have been looked at for their kinds. Nobody can log in before.
    pub fn knows_kinds(&self) -> bool {
        self.decoys.check_known().is_ok()
    }

    /// The secret of decoys, once the users' hashes have been looked at.
    pub(super) fn decoy_secret(&self) -> Option<[u8; 32]> {
        self.decoys.secret()
    }

    /// Looks at which kinds of hashes the users have. `secret` is that of decoys.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(super) async fn sample_hashes(&self, secret: [u8; 32]) -> Result<(), Error> {
        let hashes = credentials::sample_hashes(&mut self.base.store.acquire().await?, SAMPLE).await?;
        self.decoys.set(hashes, secret);
        Ok(())
    }

    /// Forgets the attempts on a name, because its password is another now.
    pub(super) async fn forget_attempts(&self, name: &Username) -> Result<(), Error> {
        self.throttle.reset_for(name).await
    }

    /// Deletes budgets of attempts that nobody has touched for long.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn clean_throttle(&self) -> Result<(), Error> {
        self.throttle.clean().await
    }

    /// The credentials of that name, as they may be answered.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]: nothing is known of them.
    async fn prove(&self, name: &Username) -> Result<Option<UserWithHash>, Error> {
        let (reads, store, name) = (Arc::clone(&self.reads), self.base.store.clone(), name.clone());
        to_completion(async move { reads.read(&store, name, find_credentials).await }).await
    }
}

async fn find_credentials(conn: &mut Conn, names: &[Username]) -> Result<HashMap<Username, UserWithHash>, Error> {
    let found = credentials::find_all(conn, names).await?;
    Ok(found.into_iter().map(|found| (found.user.username.clone(), found)).collect())
}
