//! Setting and changing a password, which ends sessions.

use std::sync::Arc;

use countersign_token::ids::{SessionId, UserId};

use super::{
    super::{
        completion::detached,
        passwords::{ATTEMPTS, PasswordAttempt, Source},
    },
    PasswordChange, UserKey, Users,
};
use crate::{
    domain::{
        audit::{Actor, Event, Kind},
        password::Password,
        password_hash::PasswordHash,
        revocation::Reason,
    },
    error::Error,
    revocation::changes::Revoked,
    store::{credentials, retrying, users},
};

impl Users {
    /// Sets a password, ends all sessions, and forgets the wrong passwords that were tried for the name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the password, [`Error::UserNotFound`], [`Error::Overloaded`],
    /// [`Error::DatabaseUnavailable`].
    pub async fn set_password(self: &Arc<Self>, id: UserId, password: Password) -> Result<Revoked, Error> {
        detached(self, |users| async move { users.reset_password(id, password).await }).await
    }

    async fn reset_password(&self, id: UserId, password: Password) -> Result<Revoked, Error> {
        let user = self.find(&UserKey::Id(id)).await?;
        self.passwords.check_new("password", &password, &user.username).await?;
        let hash = self.passwords.hash(password).await?;
        let revoked = self.replace_password(id, &hash, None, None).await?;
        if let Err(error) = self.passwords.forget_attempts(&user.username).await {
            tracing::debug!(%error, "the wrong passwords of a name are still counted");
        }
        Ok(revoked)
    }

    /// Changes a password for somebody who knows the old one, and ends the other sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the new password, [`Error::InvalidCredentials`], [`Error::LoginThrottled`],
    /// [`Error::Overloaded`], [`Error::DatabaseUnavailable`].
    pub async fn change_password(self: &Arc<Self>, change: PasswordChange) -> Result<Revoked, Error> {
        detached(self, |users| async move { users.exchange_password(change).await }).await
    }

    async fn exchange_password(&self, change: PasswordChange) -> Result<Revoked, Error> {
        self.passwords.check_new("new_password", &change.new_password, &change.username).await?;
        let source = Source { address: None, device: change.device };
        let attempt = PasswordAttempt {
            username: change.username,
            password: change.old_password,
            source,
            until: None,
            refused_as: Kind::PasswordChangeFailed,
        };
        for _ in 0..ATTEMPTS {
            let known = self.passwords.authenticate(&attempt).await?;
            let hash = self.passwords.hash(change.new_password.clone()).await?;
            let expected = Some(&known.password_hash);
            match self.replace_password(known.user.id, &hash, expected, change.keep).await {
                // Changed since it was checked, perhaps by a stronger hash of the same password: once more.
                Err(Error::InvalidCredentials) => {}
                // Deleted since the old password was checked.
                Err(Error::UserNotFound) => return Err(Error::InvalidCredentials),
                result => return result,
            }
        }
        Err(Error::Conflict)
    }

    async fn replace_password(
        &self,
        id: UserId,
        hash: &PasswordHash,
        expected: Option<&PasswordHash>,
        keep: Option<SessionId>,
    ) -> Result<Revoked, Error> {
        retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            tx.begin().await?;
            let mut user = users::lock(&mut tx, id).await?;
            let now = self.base.clock.now();
            credentials::set_password(&mut tx, id, hash, expected, now).await?;
            let mut ended = self.sessions.end_all(&mut tx, &mut user, keep, Reason::PasswordChanged).await?;
            // Who sets a password need not know the old one.
            let actor = if expected.is_some() { Actor::User } else { self.base.operator };
            ended.changes.events.push(Event::new(Kind::PasswordChanged, actor).about(&user).times(ended.sessions));
            ended.commit(&self.base.log, tx).await
        })
        .await
    }
}
