//! Administration of users. What takes a user's access away (a new password, disabling, deleting) ends its sessions in
//! the same transaction and by the same path as Revoke (REQUIREMENTS R43).

use super::{
    Accounts, Page,
    login::{ATTEMPTS, Candidate},
    revoke::Ended,
    throttle::Source,
};
use crate::{
    crypto::device_hint::Device,
    domain::{
        audit::{Actor, Event, Kind},
        ids::{SessionId, UserId},
        password::Password,
        password_hash::PasswordHash,
        revocation::Reason,
        user::{User, Username},
    },
    error::Error,
    revocation::log::{Changes, Revoked},
    store::{Conn, credentials, proofs, retrying, sessions, users},
};

/// Whether a user may log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Enabled,
    /// It may not, and has no sessions.
    Disabled,
}

/// By what a user is found.
#[derive(Clone, Debug)]
pub enum UserKey {
    /// Its id.
    Id(UserId),
    /// Its name.
    Name(Username),
}

/// Whose password changes, and which session stays.
#[derive(Debug)]
pub struct PasswordChange {
    /// The user's name.
    pub username: Username,
    /// The password as it was.
    pub old_password: Password,
    /// The password as it will be.
    pub new_password: Password,
    /// The session that stays.
    pub keep: Option<SessionId>,
    /// That has logged in before.
    pub device: Option<Device>,
}

impl Accounts {
    /// Creates a user.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the password, [`Error::UsernameTaken`], [`Error::Overloaded`],
    /// [`Error::DatabaseUnavailable`].
    pub async fn create_user(&self, username: Username, password: Password, roles: Vec<String>) -> Result<User, Error> {
        self.password_rules.check("password", &password, &username).await?;
        let hash = self.hasher.hash(password, None).await?;
        let now = self.clock.now();
        let user = User {
            id: UserId::new(now),
            username,
            roles,
            epoch: 0,
            disabled_at: None,
            password_changed_at: now,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.store.acquire().await?;
        tx.begin().await?;
        match users::insert(&mut tx, &user, &hash).await {
            Err(Error::UsernameTaken) => {
                proofs::commit(&mut tx).await?;
                return Err(Error::UsernameTaken);
            }
            inserted => inserted?,
        }
        let event = Event::new(Kind::UserCreated, self.operator).about(&user).detail(user.roles.join(","));
        self.log.commit(tx, Changes::only(vec![event])).await?;
        Ok(user)
    }

    /// Finds a user.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], [`Error::DatabaseUnavailable`].
    pub async fn find_user(&self, key: &UserKey) -> Result<User, Error> {
        let mut conn = self.store.acquire().await?;
        let user = match key {
            UserKey::Id(id) => users::find(&mut conn, *id).await?,
            UserKey::Name(name) => users::find_by_name(&mut conn, name).await?,
        };
        user.ok_or(Error::UserNotFound)
    }

    /// One page of the users, by the time of their creation.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn list_users(&self, page: Page) -> Result<Vec<User>, Error> {
        let mut conn = self.store.acquire().await?;
        users::list(&mut conn, page.after, page.size.into()).await
    }

    /// Changes roles or status. Disabling ends all sessions.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], [`Error::DatabaseUnavailable`].
    pub async fn update_user(
        &self,
        id: UserId,
        roles: Option<Vec<String>>,
        status: Option<Status>,
    ) -> Result<(User, Revoked), Error> {
        retrying(async || {
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            let mut user = users::lock(&mut tx, id).await?;
            let before = user.clone();
            user.roles = roles.clone().unwrap_or(user.roles);
            user.updated_at = self.clock.now();
            if status == Some(Status::Enabled) {
                user.disabled_at = None;
            }
            users::update(&mut tx, &user).await?;
            let mut ended = match status {
                Some(Status::Disabled) => self.disable(&mut tx, &mut user, Reason::UserDisabled).await?,
                _ => Ended::default(),
            };
            let event = |kind| Event::new(kind, self.operator).about(&user);
            if user.roles != before.roles {
                ended.changes.events.push(event(Kind::RolesChanged).detail(user.roles.join(",")));
            }
            ended.changes.events.extend(match (before.disabled_at, user.disabled_at) {
                (Some(_), None) => Some(event(Kind::UserEnabled)),
                (None, Some(_)) => Some(event(Kind::UserDisabled).times(ended.sessions)),
                _ => None,
            });
            let revoked = ended.commit(&self.log, tx).await?;
            Ok((user, revoked))
        })
        .await
    }

    /// Deletes a user: disables it and ends its sessions first, in one transaction, then removes its rows, however many
    /// there are. What fails half-way is finished by a retry.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], [`Error::DatabaseUnavailable`].
    pub async fn delete_user(&self, id: UserId) -> Result<Revoked, Error> {
        let revoked = retrying(async || {
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            let mut user = users::lock(&mut tx, id).await?;
            let mut ended = self.disable(&mut tx, &mut user, Reason::UserDeleted).await?;
            if ended.sessions > 0 {
                let event = Event::new(Kind::SessionsEnded, self.operator).about(&user).times(ended.sessions);
                ended.changes.events.push(Event { reason: Reason::UserDeleted.as_str(), ..event });
            }
            ended.commit(&self.log, tx).await
        })
        .await?;
        let removed = retrying(async || {
            let mut tx = self.store.acquire().await?;
            while sessions::delete_some(&mut tx, id).await? > 0 {}
            tx.begin().await?;
            let user = users::lock(&mut tx, id).await?;
            users::delete(&mut tx, id).await?;
            let event = Event::new(Kind::UserDeleted, self.operator).about(&user);
            self.log.commit(tx, Changes::only(vec![event])).await
        });
        match removed.await {
            // Somebody else has deleted it at the same time.
            Ok(_) | Err(Error::UserNotFound) => Ok(revoked),
            Err(error) => Err(error),
        }
    }

    async fn disable(&self, tx: &mut Conn, user: &mut User, reason: Reason) -> Result<Ended, Error> {
        user.disabled_at = user.disabled_at.or(Some(self.clock.now()));
        self.end_all(tx, user, None, reason).await
    }

    /// Sets a password, ends all sessions, and forgets the wrong passwords that were tried for the name.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the password, [`Error::UserNotFound`], [`Error::Overloaded`],
    /// [`Error::DatabaseUnavailable`].
    pub async fn set_password(&self, id: UserId, password: Password) -> Result<Revoked, Error> {
        let user = self.find_user(&UserKey::Id(id)).await?;
        self.password_rules.check("password", &password, &user.username).await?;
        let hash = self.hasher.hash(password, None).await?;
        let revoked = self.replace_password(id, &hash, None, None).await?;
        if let Err(error) = self.unthrottle(&user.username).await {
            tracing::debug!(%error, "the wrong passwords of a name are still counted");
        }
        Ok(revoked)
    }

    /// Changes a password for somebody who knows the old one, and ends the other sessions.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the new password, [`Error::InvalidCredentials`], [`Error::LoginThrottled`],
    /// [`Error::Overloaded`], [`Error::DatabaseUnavailable`].
    pub async fn change_password(&self, change: PasswordChange) -> Result<Revoked, Error> {
        self.password_rules.check("new_password", &change.new_password, &change.username).await?;
        let source = Source { ip: String::new(), device: change.device };
        let candidate = Candidate {
            username: change.username,
            password: change.old_password,
            source,
            until: None,
            refused_as: Kind::PasswordChangeFailed,
        };
        for _ in 0..ATTEMPTS {
            let known = self.authenticate(&candidate).await?;
            let hash = self.hasher.hash(change.new_password.clone(), None).await?;
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
            let mut tx = self.store.acquire().await?;
            tx.begin().await?;
            let mut user = users::lock(&mut tx, id).await?;
            let now = self.clock.now();
            credentials::set_password(&mut tx, id, hash, expected, now).await?;
            let mut ended = self.end_all(&mut tx, &mut user, keep, Reason::PasswordChanged).await?;
            // Who sets a password need not know the old one.
            let actor = if expected.is_some() { Actor::User } else { self.operator };
            ended.changes.events.push(Event::new(Kind::PasswordChanged, actor).about(&user).times(ended.sessions));
            ended.commit(&self.log, tx).await
        })
        .await
    }
}
