//! Administration of users. What takes a user's access away (a new password, disabling, deleting) ends its sessions in
//! the same transaction. It takes the same path as Revoke (REQUIREMENTS R43).

pub mod import;
mod passwords;

use std::sync::Arc;

use countersign_token::ids::{SessionId, UserId};

use super::{
    base::Base,
    completion::detached,
    page::Page,
    passwords::Passwords,
    sessions::{Ended, Sessions},
};
use crate::{
    crypto::device_hint::Device,
    domain::{
        audit::{Event, Kind},
        password::Password,
        revocation::Reason,
        user::{User, Username},
    },
    error::Error,
    revocation::changes::{Changes, Revoked},
    store::{Conn, proofs, retrying, sessions, users},
};

/// The status of an account: its user may log in, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountStatus {
    /// The user may log in.
    Enabled,
    /// The user may not log in, and has no sessions.
    Disabled,
}

/// Changes of a user.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The roles from now on; None leaves them.
    pub roles: Option<Vec<String>>,
    /// The status from now on; None leaves it.
    pub status: Option<AccountStatus>,
    /// The end of the sessions, whose tokens say the former roles.
    pub sessions: LiveSessions,
}

/// The live sessions of a user that is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LiveSessions {
    /// Sessions live on, unless the user is disabled.
    #[default]
    Keep,
    /// Sessions end.
    End,
}

/// The key by which a user is found.
#[derive(Clone, Debug)]
pub enum UserKey {
    /// The user with this id.
    Id(UserId),
    /// The user with this name.
    Name(Username),
}

/// A change of a password: whose, to which, and which session stays.
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
    /// The device of the caller, if it has logged in before.
    pub device: Option<Device>,
}

/// The users, and what an administrator does with them.
#[derive(Debug)]
pub struct Users {
    passwords: Arc<Passwords>,
    sessions: Arc<Sessions>,
    base: Base,
}

impl Users {
    /// Users whose passwords and sessions these are.
    pub fn new(passwords: Arc<Passwords>, sessions: Arc<Sessions>, base: Base) -> Self {
        Self { passwords, sessions, base }
    }

    /// Creates a user.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the password, [`Error::UsernameTaken`], [`Error::Overloaded`],
    /// [`Error::DatabaseUnavailable`].
    pub async fn create(
        self: &Arc<Self>,
        username: Username,
        password: Password,
        roles: Vec<String>,
    ) -> Result<User, Error> {
        detached(self, |users| async move { users.add(username, password, roles).await }).await
    }

    async fn add(&self, username: Username, password: Password, roles: Vec<String>) -> Result<User, Error> {
        self.passwords.check_new("password", &password, &username).await?;
        let hash = self.passwords.hash(password).await?;
        let now = self.base.clock.now();
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
        let mut tx = self.base.store.acquire().await?;
        tx.begin().await?;
        match users::insert(&mut tx, &user, &hash).await {
            Err(Error::UsernameTaken) => {
                proofs::commit(&mut tx).await?;
                return Err(Error::UsernameTaken);
            }
            inserted => inserted?,
        }
        let event = Event::new(Kind::UserCreated, self.base.operator).about(&user).detail(user.roles.join(","));
        self.base.log.commit(tx, Changes::only(vec![event])).await?;
        Ok(user)
    }

    /// Finds a user.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], [`Error::DatabaseUnavailable`].
    pub async fn find(&self, key: &UserKey) -> Result<User, Error> {
        let mut conn = self.base.store.acquire().await?;
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
    pub async fn list(&self, page: Page) -> Result<Vec<User>, Error> {
        let mut conn = self.base.store.acquire().await?;
        users::list(&mut conn, page.after, page.size.into()).await
    }

    /// Changes roles or status. Disabling ends all sessions.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], [`Error::DatabaseUnavailable`].
    pub async fn update(self: &Arc<Self>, id: UserId, change: UserChange) -> Result<(User, Revoked), Error> {
        detached(self, |users| async move { users.change(id, &change).await }).await
    }

    async fn change(&self, id: UserId, change: &UserChange) -> Result<(User, Revoked), Error> {
        let UserChange { roles, status, sessions } = change;
        retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            tx.begin().await?;
            let mut user = users::lock(&mut tx, id).await?;
            let before = user.clone();
            user.roles = roles.clone().unwrap_or(user.roles);
            user.updated_at = self.base.clock.now();
            if *status == Some(AccountStatus::Enabled) {
                user.disabled_at = None;
            }
            users::update(&mut tx, &user).await?;
            let mut ended = match (status, sessions) {
                (Some(AccountStatus::Disabled), _) => self.disable(&mut tx, &mut user, Reason::UserDisabled).await?,
                (_, LiveSessions::End) => self.sessions.end_all(&mut tx, &mut user, None, Reason::Revoked).await?,
                (_, LiveSessions::Keep) => Ended::default(),
            };
            let event = |kind| Event::new(kind, self.base.operator).about(&user);
            if *sessions == LiveSessions::End && ended.sessions > 0 {
                let event = event(Kind::SessionsEnded).times(ended.sessions);
                ended.changes.events.push(Event { reason: Reason::Revoked.as_str(), ..event });
            }
            if user.roles != before.roles {
                ended.changes.events.push(event(Kind::RolesChanged).detail(user.roles.join(",")));
            }
            ended.changes.events.extend(match (before.disabled_at, user.disabled_at) {
                (Some(_), None) => Some(event(Kind::UserEnabled)),
                (None, Some(_)) => Some(event(Kind::UserDisabled).times(ended.sessions)),
                _ => None,
            });
            let revoked = ended.commit(&self.base.log, tx).await?;
            Ok((user, revoked))
        })
        .await
    }

    /// Deletes a user: disables it and ends its sessions first, in one transaction, then removes its rows, however many
    /// there are. What fails half-way is finished by a retry.
    ///
    /// # Errors
    /// [`Error::UserNotFound`], [`Error::DatabaseUnavailable`].
    pub async fn delete(self: &Arc<Self>, id: UserId) -> Result<Revoked, Error> {
        detached(self, |users| async move { users.remove(id).await }).await
    }

    async fn remove(&self, id: UserId) -> Result<Revoked, Error> {
        let revoked = retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            tx.begin().await?;
            let mut user = users::lock(&mut tx, id).await?;
            let mut ended = self.disable(&mut tx, &mut user, Reason::UserDeleted).await?;
            if ended.sessions > 0 {
                let event = Event::new(Kind::SessionsEnded, self.base.operator).about(&user).times(ended.sessions);
                ended.changes.events.push(Event { reason: Reason::UserDeleted.as_str(), ..event });
            }
            ended.commit(&self.base.log, tx).await
        })
        .await?;
        let removed = retrying(async || {
            let mut tx = self.base.store.acquire().await?;
            while sessions::delete_some(&mut tx, id).await? > 0 {}
            tx.begin().await?;
            let user = users::lock(&mut tx, id).await?;
            users::delete(&mut tx, id).await?;
            let event = Event::new(Kind::UserDeleted, self.base.operator).about(&user);
            self.base.log.commit(tx, Changes::only(vec![event])).await
        });
        match removed.await {
            // Somebody else has deleted it at the same time.
            Ok(_) | Err(Error::UserNotFound) => Ok(revoked),
            Err(error) => Err(error),
        }
    }

    async fn disable(&self, tx: &mut Conn, user: &mut User, reason: Reason) -> Result<Ended, Error> {
        user.disabled_at = user.disabled_at.or(Some(self.base.clock.now()));
        self.sessions.end_all(tx, user, None, reason).await
    }
}
