//! Checking a password that somebody typed. Unknown user, wrong password and disabled user cost the same and get the same answer
//! (promise P6). A caller that goes away takes its hashing with it, but cuts no statement short.

use std::sync::Arc;

use tokio::time::Instant;

use super::{super::completion::to_completion, ATTEMPTS, Passwords, attempt::PasswordAttempt};
use crate::{
    crypto::foreign_hash,
    domain::{audit::Failure, password::Password, password_hash::Verdict, user::User},
    error::Error,
    store::credentials::{self, UserWithHash},
};

/// The outcome of comparing a password with what is stored.
enum Compared {
    Right(UserWithHash),
    Wrong(Failure),
}

impl Passwords {
    /// Checks a password, if one may be tried now.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::LoginThrottled`], [`Error::Overloaded`], [`Error::DatabaseUnavailable`];
    /// [`Error::KeyUnusable`] and [`Error::Internal`] when the stored hash cannot be checked here.
    pub async fn authenticate(&self, attempt: &PasswordAttempt) -> Result<UserWithHash, Error> {
        let until = attempt.until.unwrap_or_else(|| Instant::now() + self.deadline);
        // Before anything is counted: a password that is not looked at is no attempt.
        self.decoys.check_known()?;
        self.hasher.check_capacity(Some(until))?;
        let (store, name) = (self.base.store.clone(), attempt.username.clone());
        // No connection is held while the password is hashed.
        let mut found = to_completion(async move {
            let mut conn = store.acquire_for_login().await?;
            credentials::find(&mut conn, &name).await
        })
        .await?;
        let user = found.as_ref().map(|c| &c.user);
        let recorded = self.throttle.record(&attempt.username, user, &attempt.source, until).await;
        if let Err(Error::LoginThrottled { .. }) = &recorded {
            self.refused(attempt, user, Failure::Throttled);
        }
        let mut recorded = recorded?;
        for _ in 0..ATTEMPTS {
            let failure = match self.compare(attempt, found.as_ref(), until).await? {
                Compared::Right(credentials) => return recorded.reset().await.map(|()| credentials),
                Compared::Wrong(failure) => failure,
            };
            let failed = recorded.confirm_failure();
            // The database may have been left behind: a denial rests on a reading by one that commits.
            let proven = self.prove(&attempt.username).await?;
            if found.as_ref().map(UserWithHash::decisive) == proven.as_ref().map(UserWithHash::decisive) {
                let user = found.as_ref().map(|c| &c.user);
                self.refused(attempt, user, failure);
                return Err(Error::InvalidCredentials);
            }
            recorded.reopen(failed);
            found = proven;
        }
        Err(Error::Conflict)
    }

    /// Notes that a password was of no use.
    pub fn refused(&self, attempt: &PasswordAttempt, user: Option<&User>, failure: Failure) {
        self.base.audit.refused(attempt.refused_as, user, attempt.source.shown(), failure);
    }

    /// Compares the password with what was `found`.
    async fn compare(
        &self,
        attempt: &PasswordAttempt,
        found: Option<&UserWithHash>,
        until: Instant,
    ) -> Result<Compared, Error> {
        let stored = match found {
            Some(known) => Some(known.password_hash.clone()),
            None => self.decoys.of(&attempt.username),
        };
        // Another replica may have made the pepper a moment ago: a password that cannot be checked is not a wrong one.
        if stored.as_ref().is_some_and(|stored| !self.hasher.knows_pepper_of(stored)) {
            self.base.log.wait_for_key_update().await?;
        }
        let verdict = self.hasher.verify(attempt.password.clone(), stored.as_ref(), Some(until)).await?;
        Ok(match (found, verdict) {
            (None, _) => Compared::Wrong(Failure::UnknownUser),
            (Some(_), Verdict::Wrong) => Compared::Wrong(Failure::WrongPassword),
            (Some(known), Verdict::Right) if known.user.disabled_at.is_some() => Compared::Wrong(Failure::UserDisabled),
            (Some(known), Verdict::Right) if self.check_pepper(&known.password_hash).is_err() => {
                Compared::Wrong(Failure::WithoutPepper)
            }
            (Some(known), Verdict::Right) => Compared::Right(known.clone()),
        })
    }

    /// Replaces a hash that is weaker than those of today, or of another pepper, by one of the same password. Nobody waits for
    /// it, and what does not work now works at a later login.
    pub fn rehash(&self, password: Password, credentials: UserWithHash) {
        let UserWithHash { user, password_hash } = credentials;
        if !self.hasher.is_outdated(&password_hash) || foreign_hash::reads_part_of(&password_hash, &password) {
            return;
        }
        let (hasher, store) = (Arc::clone(&self.hasher), self.base.store.clone());
        let replaced = async move {
            let fresh = hasher.hash(password, None).await?;
            credentials::replace_hash(&mut store.acquire_for_login().await?, user.id, &fresh, &password_hash).await
        };
        tokio::spawn(async move {
            if let Err(error) = replaced.await {
                tracing::debug!(%error, "an old password hash was not replaced");
            }
        });
    }
}
