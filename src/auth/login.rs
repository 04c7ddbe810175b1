//! Login: checks a password (`passwords/check.rs`) and opens a session.

use countersign_token::moment::unix;
use tokio::time::Instant;

use super::{
    Auth,
    passwords::{ATTEMPTS, PasswordAttempt, Source},
    tokens::TokenPair,
};
use crate::{
    crypto::{device_hint::Device, secret::Secret},
    domain::{
        address::ClientAddress,
        audit::{Failure, Kind},
        password::Password,
        session::{ClientInfo, SessionRequest},
        user::Username,
    },
    error::Error,
    metrics,
};

/// The input of a Login.
#[derive(Debug)]
pub struct LoginRequest {
    /// The name as it was typed.
    pub username: Username,
    /// The password as it was typed.
    pub password: Password,
    /// The services that the tokens are for; empty for all.
    pub audience: Vec<String>,
    /// The client as ListSessions shows it.
    pub client: ClientInfo,
    /// Claim client_id: the caller.
    pub client_id: String,
    /// The hint that the device was given at an earlier login; empty if none.
    pub device_hint: Secret,
    /// The caller waits no longer; None: as long as the server's setting says.
    pub until: Option<Instant>,
}

/// The result of a Login.
#[derive(Debug)]
pub struct LoggedIn {
    /// The session's tokens.
    pub tokens: TokenPair,
    /// The hint that this device shows at its next login.
    pub device_hint: Secret,
}

impl Auth {
    /// Checks the password and opens a session.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::SessionLimitReached`], [`Error::InvalidArgument`] for an unknown audience,
    /// [`Error::LoginThrottled`], [`Error::Overloaded`], [`Error::DatabaseUnavailable`], [`Error::RevocationsStale`],
    /// [`Error::ClockWrong`].
    pub async fn login(&self, request: LoginRequest) -> Result<LoggedIn, Error> {
        let counted = self.base.metrics.outcomes.login();
        let answer = self.open_by_password(request).await;
        counted.end(answer.as_ref().err().map_or(metrics::Login::Ok, metrics::Login::failed));
        answer
    }

    async fn open_by_password(&self, request: LoginRequest) -> Result<LoggedIn, Error> {
        // Who has not heard of the keys for long must not sign: others may not accept it any more.
        self.may_sign()?;
        let audience = self.token_policy.choose_audience(request.audience)?;
        let device = self.keys.ring().decode_device(request.device_hint.expose());
        let source = Source { address: ClientAddress::parse(&request.client.ip), device };
        let LoginRequest { username, password, until, client, client_id, .. } = request;
        let wish = SessionRequest { client_id: &client_id, audience: &audience, client: &client };
        let attempt = PasswordAttempt { username, password, source, until, refused_as: Kind::LoginFailed };
        for _ in 0..ATTEMPTS {
            let credentials = self.passwords.authenticate(&attempt).await?;
            let now = self.base.clock.now();
            let session = self.sessions.draft(&credentials, wish, now);
            let opened = self.sessions.open(session, credentials.clone()).await;
            if let Err(Error::SessionLimitReached) = opened {
                self.passwords.refused(&attempt, Some(&credentials.user), Failure::SessionLimit);
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
            self.passwords.rehash(attempt.password, credentials);
            return Ok(LoggedIn { tokens, device_hint });
        }
        Err(Error::Conflict)
    }
}

impl Auth {
    /// Looks at which kinds of hashes the users have. When that fails, what was seen before counts.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`], [`Error::Internal`].
    pub async fn sample_hashes(&self) -> Result<(), Error> {
        let secret = self.keys.decoy_secret(self.passwords.decoy_secret()).await?;
        self.passwords.sample_hashes(secret).await
    }
}
