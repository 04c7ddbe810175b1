//! A session that stays alive: its access token is exchanged before it expires.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_proto::v1;
use countersign_token::{clock::Clock, moment::unix};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use crate::{
    client::Countersign,
    error::{Error, Reason},
};

/// The part of an access token's life after which it is exchanged.
const FRESH_FOR: f64 = 0.7;
/// The life of an access token that does not say it.
const SHORT: Duration = Duration::from_secs(60);
/// The time for which a token that is about to expire is still sent.
const MARGIN: Duration = Duration::from_secs(2);

/// A session. Clones share it.
#[derive(Clone, Debug)]
pub struct Session {
    client: Countersign,
    tokens: Arc<ArcSwap<Tokens>>,
    /// Held by whoever exchanges the tokens, for all.
    turn: Arc<Mutex<()>>,
}

/// A pair of tokens.
struct Tokens {
    pair: v1::TokenPair,
    access: Arc<str>,
    refresh_at: Instant,
    expires_at: Instant,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

impl Session {
    /// Opens a session with a password.
    ///
    /// # Errors
    /// As for [`Countersign::login`].
    pub async fn login(client: &Countersign, request: v1::LoginRequest) -> Result<Self, Error> {
        let answer = client.login(request).await?;
        let tokens = answer.tokens.ok_or(Error::Unavailable(NO_TOKENS))?;
        Ok(Self::with(client, Tokens::new(tokens)))
    }

    /// Goes on with a pair of tokens from elsewhere.
    pub fn of(client: &Countersign, tokens: v1::TokenPair) -> Self {
        Self::with(client, Tokens::kept(tokens))
    }

    fn with(client: &Countersign, tokens: Tokens) -> Self {
        Self { client: client.clone(), tokens: Arc::new(ArcSwap::from_pointee(tokens)), turn: Arc::default() }
    }

    /// The access token. It is exchanged before it expires, once for all who ask.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] when the session has ended: log in again. [`Error::Unavailable`] when the token has expired and
    /// the service cannot be reached: nothing is lost, ask again.
    pub async fn access_token(&self) -> Result<Arc<str>, Error> {
        let tokens = self.tokens.load();
        if Instant::now() < tokens.refresh_at {
            return Ok(Arc::clone(&tokens.access));
        }
        drop(tokens);
        let _turn = self.turn.lock().await;
        let tokens = self.tokens.load_full();
        if Instant::now() < tokens.refresh_at {
            return Ok(Arc::clone(&tokens.access));
        }
        match self.exchange(&tokens.pair).await {
            Ok(next) => Ok(next),
            // It is good for a while, and so may the service be.
            Err(error) if error.is_outage() && Instant::now() + MARGIN < tokens.expires_at => {
                Ok(Arc::clone(&tokens.access))
            }
            Err(error) => Err(error),
        }
    }

    /// Exchanges the tokens, with the same refresh token again if an answer was lost (promise P2).
    async fn exchange(&self, pair: &v1::TokenPair) -> Result<Arc<str>, Error> {
        let request = v1::RefreshRequest { refresh_token: pair.refresh_token.clone(), ..Default::default() };
        let answer = self.client.refresh(request).await?;
        let tokens = Tokens::new(answer.tokens.ok_or(Error::Unavailable(NO_TOKENS))?);
        let access = Arc::clone(&tokens.access);
        self.tokens.store(Arc::new(tokens));
        Ok(access)
    }

    /// The tokens as they are, to be kept elsewhere.
    pub fn tokens(&self) -> v1::TokenPair {
        self.tokens.load().pair.clone()
    }

    /// Ends the session everywhere.
    ///
    /// # Errors
    /// As for [`Countersign::revoke`].
    pub async fn logout(&self) -> Result<v1::RevokeResponse, Error> {
        let _turn = self.turn.lock().await;
        let token = self.tokens().refresh_token;
        let target = Some(v1::revoke_request::Target::RefreshToken(token));
        self.client.revoke(v1::RevokeRequest { target, ..Default::default() }).await
    }
}

const NO_TOKENS: Reason = Reason::new("NO_TOKENS");

impl Tokens {
    /// Tokens that have just been issued. Their life is what they say of it, whatever this machine's clock says.
    fn new(pair: v1::TokenPair) -> Self {
        let life = life(&pair).map_or(SHORT, |(whole, _)| whole);
        Self::living(pair, life)
    }

    /// Tokens from elsewhere, of which a part of the life is over.
    fn kept(pair: v1::TokenPair) -> Self {
        let life = life(&pair).map_or(Duration::ZERO, |(whole, left)| left.min(whole));
        Self::living(pair, life)
    }

    fn living(pair: v1::TokenPair, life: Duration) -> Self {
        let (access, now) = (Arc::from(pair.access_token.as_str()), Instant::now());
        Self { pair, access, refresh_at: now + life.mul_f64(FRESH_FOR), expires_at: now + life }
    }
}

/// The whole life of an access token, and what is left of it by this machine's clock; None for one that does not say.
fn life(pair: &v1::TokenPair) -> Option<(Duration, Duration)> {
    #[derive(Deserialize)]
    struct Dates {
        iat: u64,
        exp: u64,
    }
    let payload = URL_SAFE_NO_PAD.decode(pair.access_token.split('.').nth(1)?).ok()?;
    let Dates { iat, exp } = serde_json::from_slice(&payload).ok()?;
    let now = unix(Clock::system().now());
    Some((Duration::from_secs(exp.saturating_sub(iat)), Duration::from_secs(exp.saturating_sub(now))))
}
