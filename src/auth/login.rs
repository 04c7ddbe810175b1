//! Login: checks a password and opens a session. Unknown user, wrong password and disabled user cost the same and get
//! the same answer (promise P6). A caller that goes away takes its hashing with it, but cuts no statement short.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::{
    Accounts, Auth,
    throttle::{self, Source},
    to_completion,
    tokens::TokenPair,
};
use crate::{
    audit,
    crypto::{device_hint::Device, foreign_hash, secret::Secret},
    domain::{
        audit::{Actor, Event, Failure, Kind},
        claims::unix,
        ids::SessionId,
        moment::later,
        password::Password,
        password_hash::Verdict,
        rotation::{Liveness, RotationState},
        session::{ClientInfo, Session},
        user::{User, Username},
    },
    error::Error,
    store::{
        credentials::{self, Credentials},
        sessions::{self, Opening},
    },
};

/// How often a Login starts over because the user changed meanwhile.
pub(super) const ATTEMPTS: u32 = 3;

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

/// A password that is to be checked.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// Whose it should be.
    pub(super) username: Username,
    /// As it was typed.
    pub(super) password: Password,
    /// Where it was typed.
    pub(super) source: Source,
    /// The caller waits no longer.
    pub(super) until: Option<Instant>,
    /// What it is called when it is refused.
    pub(super) refused_as: Kind,
}

/// The outcome of comparing a password with what is stored.
enum Compared {
    Right(Credentials),
    Wrong(Failure),
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
            let credentials = self.accounts.authenticate(&candidate).await?;
            let now = self.accounts.clock.now();
            let session = self.accounts.new_session(&credentials, audience.clone(), request.client.clone(), now);
            let opened = self.open(session, credentials.clone()).await;
            if let Err(Error::SessionLimitReached) = opened {
                let (user, source) = (&credentials.user, throttle::source(&request.client.ip));
                self.accounts.audit.refused(Kind::LoginFailed, Some(user), source, Failure::SessionLimit);
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
            self.accounts.rehash(candidate.password, credentials);
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
    /// Checks a password, if one may be tried now.
    ///
    /// # Errors
    /// [`Error::InvalidCredentials`], [`Error::LoginThrottled`], [`Error::Overloaded`], [`Error::DatabaseUnavailable`];
    /// [`Error::KeyUnusable`] and [`Error::Internal`] when the stored hash cannot be checked here.
    pub(super) async fn authenticate(&self, candidate: &Candidate) -> Result<Credentials, Error> {
        let until = candidate.until.unwrap_or_else(|| Instant::now() + self.policy.login_deadline);
        // Before anything is counted: a password that is not looked at is no attempt.
        self.hasher.admit(Some(until))?;
        let (store, name) = (self.store.clone(), candidate.username.clone());
        // No connection is held while the password is hashed.
        let mut found = to_completion(async move {
            let mut conn = store.acquire_for_login().await?;
            credentials::find(&mut conn, &name).await
        })
        .await?;
        let user = found.as_ref().map(|c| &c.user);
        let attempt = self.charge(&candidate.username, user, &candidate.source, until).await;
        if let Err(Error::LoginThrottled { .. }) = &attempt {
            self.refused(candidate, user, Failure::Throttled);
        }
        let mut attempt = attempt?;
        for _ in 0..ATTEMPTS {
            let failure = match self.compare(candidate, found.as_ref(), until).await? {
                Compared::Right(credentials) => return attempt.forgive().await.map(|()| credentials),
                Compared::Wrong(failure) => failure,
            };
            let standing = attempt.stand();
            // The database may have been left behind: a denial rests on a reading by one that commits.
            let proven = self.prove_credentials(&candidate.username).await?;
            if found.as_ref().map(Credentials::decisive) == proven.as_ref().map(Credentials::decisive) {
                let user = found.as_ref().map(|c| &c.user);
                self.refused(candidate, user, failure);
                return Err(Error::InvalidCredentials);
            }
            attempt.doubt(standing);
            found = proven;
        }
        Err(Error::Conflict)
    }

    fn refused(&self, candidate: &Candidate, user: Option<&User>, failure: Failure) {
        self.audit.refused(candidate.refused_as, user, throttle::source(&candidate.source.ip), failure);
    }

    /// Compares the password with what was `found`.
    async fn compare(
        &self,
        candidate: &Candidate,
        found: Option<&Credentials>,
        until: Instant,
    ) -> Result<Compared, Error> {
        let stored = match found {
            Some(known) => Some(known.password_hash.clone()),
            None => self.decoys.of(&candidate.username),
        };
        // Another replica may have made the pepper a moment ago: a password that cannot be checked is not a wrong one.
        if stored.as_ref().is_some_and(|stored| !self.hasher.knows_pepper_of(stored)) {
            self.log.hear_of_keys().await?;
        }
        let verdict = self.hasher.verify(candidate.password.clone(), stored.as_ref(), Some(until)).await?;
        Ok(match (found, verdict) {
            (None, _) => Compared::Wrong(Failure::UnknownUser),
            (Some(_), Verdict::Wrong) => Compared::Wrong(Failure::WrongPassword),
            (Some(known), Verdict::Right) if known.user.disabled_at.is_some() => Compared::Wrong(Failure::UserDisabled),
            (Some(known), Verdict::Right) => Compared::Right(known.clone()),
        })
    }

    /// Replaces a hash that is weaker than those of today, or of another pepper, by one of the same password. Nobody waits for
    /// it, and what does not work now works at a later login.
    fn rehash(&self, password: Password, credentials: Credentials) {
        let Credentials { user, password_hash } = credentials;
        if !self.hasher.is_outdated(&password_hash) || foreign_hash::reads_part_of(&password_hash, &password) {
            return;
        }
        let (hasher, store) = (Arc::clone(&self.hasher), self.store.clone());
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
