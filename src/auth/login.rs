//! Login: checks a password and opens a session. Unknown user, wrong password and disabled user cost the same and get
//! the same answer (promise P6). A caller that goes away takes its hashing with it, but cuts no statement short.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{Accounts, Auth, later, to_completion, tokens::TokenPair};
use crate::{
    crypto::password::{PasswordHash, Verdict},
    domain::{
        ids::SessionId,
        password::Password,
        rotation::{Liveness, RotationState},
        session::{ClientInfo, Session},
        user::Username,
    },
    error::Error,
    store::{
        refresh_tokens::{self, Opening},
        users::{self, Credentials},
    },
};

/// How often a Login starts over because the user changed meanwhile.
const ATTEMPTS: u32 = 3;

/// What a Login is given.
#[derive(Debug)]
pub struct LoginRequest {
    /// The name.
    pub username: Username,
    /// The password.
    pub password: Password,
    /// The services that the tokens are for; empty for all.
    pub audience: Vec<String>,
    /// What ListSessions shows.
    pub client: ClientInfo,
}

impl Auth {
    /// Checks the password and opens a session.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::SessionLimitReached`], [`Error::InvalidArgument`] for an unknown audience,
    /// [`Error::Overloaded`], [`Error::DatabaseUnavailable`], [`Error::RevocationsStale`].
    pub async fn login(self: &Arc<Self>, request: LoginRequest) -> Result<TokenPair, Error> {
        // Who has not heard of the keys for long must not sign: others may not accept it any more.
        self.accounts.revocations.fresh(None)?;
        let audience = self.accounts.policy.choose_audience(request.audience)?;
        for _ in 0..ATTEMPTS {
            let credentials = self.accounts.authenticate(&request.username, request.password.clone()).await?;
            let now = self.accounts.clock.now();
            let session = self.accounts.new_session(&credentials, audience.clone(), request.client.clone(), now);
            if let Some(session) = self.open(session, credentials).await? {
                return self.token_pair(&session, now);
            }
        }
        Err(Error::Conflict)
    }

    /// Opens the session; None when password, epoch or status of the user changed since they were read.
    async fn open(self: &Arc<Self>, session: Session, credentials: Credentials) -> Result<Option<Session>, Error> {
        let auth = Arc::clone(self);
        to_completion(async move {
            if let Some(limit) = auth.accounts.policy.session_limit {
                return auth.accounts.open_within(limit, &session, &credentials).await;
            }
            let mut conn = auth.accounts.store.acquire().await?;
            Ok(match refresh_tokens::open(&mut conn, &session, &credentials).await? {
                Opening::Opened => Some(session),
                Opening::UserMoved => None,
            })
        })
        .await
    }
}

impl Accounts {
    /// Checks a password.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::Overloaded`], [`Error::DatabaseUnavailable`].
    pub(super) async fn authenticate(&self, username: &Username, password: Password) -> Result<Credentials, Error> {
        let (store, name) = (self.store.clone(), username.clone());
        // No connection is held while the password is hashed.
        let found = to_completion(async move {
            let mut conn = store.acquire().await?;
            users::find_credentials(&mut conn, &name).await
        })
        .await?;
        let stored = found.as_ref().map(|c| PasswordHash::from_stored(c.password_hash.0.clone()));
        let verdict = self.hasher.verify(password, stored.as_ref()).await?;
        found.filter(|c| verdict == Verdict::Right && c.user.disabled_at.is_none()).ok_or(Error::InvalidCredentials)
    }

    fn new_session(
        &self,
        credentials: &Credentials,
        audience: Vec<String>,
        client: ClientInfo,
        now: OffsetDateTime,
    ) -> Session {
        let expires_at = later(now, self.policy.session_ttl);
        let idle_expires_at = later(now, self.policy.session_idle_ttl).min(expires_at);
        Session {
            id: SessionId::new(now),
            user_id: credentials.user.id,
            epoch: credentials.user.epoch,
            roles: credentials.user.roles.clone(),
            audience,
            client_id: self.policy.client_id.clone(),
            created_at: now,
            expires_at,
            idle_expires_at,
            rotation: RotationState {
                generation: 1,
                previous_generation: 0,
                rotated_at: now,
                liveness: Liveness::Until(idle_expires_at),
            },
            client,
        }
    }
}
