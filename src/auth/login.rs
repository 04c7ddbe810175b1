//! Login: checks a password (`passwords/check.rs`) and opens a session.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    Accounts, Auth,
    completion::to_completion,
    passwords::{ATTEMPTS, Candidate, Source},
    tokens::TokenPair,
};
use crate::{
    audit,
    crypto::{device_hint::Device, secret::Secret},
    domain::{
        audit::{Actor, Event, Failure, Kind},
        claims::unix,
        ids::SessionId,
        moment::later,
        password::Password,
        rotation::{Liveness, RotationState},
        session::{ClientInfo, Session},
        user::Username,
    },
    error::Error,
    store::{
        credentials::Credentials,
        sessions::{self, Opening},
    },
};

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
    /// What the device was given at an earlier login; empty if nothing.
    pub device_hint: Secret,
    /// The caller waits no longer; None: as long as the server's setting says.
    pub until: Option<Instant>,
}

/// What a Login is answered with.
#[derive(Debug)]
pub struct LoggedIn {
    /// The session's tokens.
    pub tokens: TokenPair,
    /// To be shown at the next login of this device.
    pub device_hint: Secret,
}

impl Auth {
    /// Checks the password and opens a session.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::SessionLimitReached`], [`Error::InvalidArgument`] for an unknown audience,
    /// [`Error::LoginThrottled`], [`Error::Overloaded`], [`Error::DatabaseUnavailable`], [`Error::RevocationsStale`],
    /// [`Error::ClockWrong`].
    pub async fn login(self: &Arc<Self>, request: LoginRequest) -> Result<LoggedIn, Error> {
        // Who has not heard of the keys for long must not sign: others may not accept it any more.
        self.accounts.may_sign()?;
        let audience = self.accounts.policy.choose_audience(request.audience)?;
        let device = self.keys.ring().decode_device(request.device_hint.expose());
        let source = Source { ip: request.client.ip.clone(), device };
        let LoginRequest { username, password, until, .. } = request;
        let candidate = Candidate { username, password, source, until, refused_as: Kind::LoginFailed };
        for _ in 0..ATTEMPTS {
            let credentials = self.accounts.passwords.authenticate(&candidate).await?;
            let now = self.accounts.clock.now();
            let session = self.accounts.new_session(&credentials, audience.clone(), request.client.clone(), now);
            let opened = self.open(session, credentials.clone()).await;
            if let Err(Error::SessionLimitReached) = opened {
                self.accounts.passwords.refused(&candidate, Some(&credentials.user), Failure::SessionLimit);
            }
            let Some(session) = opened? else {
                continue;
            };
            let tokens = self.token_pair(&session, now)?;
            let mut own = Device::new(session.user_id, unix(now))?;
            if let Some(known) = device.filter(|device| device.user_id == session.user_id) {
                own.id = known.id;
            }
            let device_hint = self.keys.ring().encode_device(own)?;
            self.accounts.passwords.rehash(candidate.password, credentials);
            return Ok(LoggedIn { tokens, device_hint });
        }
        Err(Error::Conflict)
    }

    /// Opens the session; None when password, epoch or status of the user changed since they were read.
    async fn open(self: &Arc<Self>, session: Session, credentials: Credentials) -> Result<Option<Session>, Error> {
        let auth = Arc::clone(self);
        to_completion(async move {
            let opened = match auth.accounts.policy.session_limit {
                Some(limit) => auth.accounts.open_within(limit, &session, &credentials).await?,
                None => {
                    let mut conn = auth.accounts.store.acquire_for_login().await?;
                    let opening = sessions::open(&mut conn, &session, &credentials).await?;
                    (opening == Opening::Opened).then_some(session)
                }
            };
            if let Some(session) = &opened {
                audit::log(&[Event {
                    session: Some(session.id),
                    client: session.client.clone(),
                    ..Event::new(Kind::LoginSucceeded, Actor::User).about(&credentials.user)
                }]);
            }
            Ok(opened)
        })
        .await
    }
}

impl Accounts {
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

impl Auth {
    /// Looks at which kinds of hashes the users have.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn sample_hashes(&self) -> Result<(), Error> {
        self.accounts.passwords.sample_hashes(|| self.keys.ring().lasting_secret(b"decoys")).await
    }
}
