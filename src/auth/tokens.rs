//! The pair of tokens that Login and Refresh hand out.

use std::time::Duration;

use countersign_token::{
    claims::Claims,
    ids::{SessionId, new_v7},
    moment::{saturating_add, unix},
};
use time::OffsetDateTime;

use super::Auth;
use crate::{
    crypto::{
        random,
        refresh_token::{Decoded, RefreshToken},
        secret::Secret,
        sign::sign_access_token,
    },
    domain::session::Session,
    error::Error,
};

/// Bytes of claim scope.
const MAX_SCOPE: usize = 1024;

/// The tokens of a session.
#[derive(Clone, Debug)]
pub struct TokenPair {
    /// The access token, a JWT.
    pub access_token: Secret,
    /// The moment at which the access token expires.
    pub access_token_expires_at: OffsetDateTime,
    /// The refresh token, which is opaque.
    pub refresh_token: Secret,
    /// The session's end if it is not refreshed before.
    pub refresh_token_expires_at: OffsetDateTime,
    /// The session of both tokens.
    pub session_id: SessionId,
}

impl Auth {
    /// Makes the tokens of a session's current generation. `now` was read before the session was. So a token made from
    /// a row that has been revoked since ends no later than the revocation is remembered.
    ///
    /// # Errors
    /// [`Error::Internal`] without a key that signs.
    pub fn token_pair(&self, session: &Session, now: OffsetDateTime) -> Result<TokenPair, Error> {
        // No token outlives its session (CVE-2021-32923).
        let ttl = jittered(self.token_policy.access_token_ttl)?;
        let expires_at = saturating_add(now, ttl).min(session.expires_at);
        let claims = Claims {
            iss: self.token_policy.issuer.clone(),
            sub: session.user_id.to_string(),
            aud: session.audience.clone(),
            exp: unix(expires_at),
            nbf: None,
            iat: unix(now),
            jti: new_v7(now).to_string(),
            client_id: session.client_id.clone(),
            auth_time: unix(session.created_at),
            sid: session.id.to_string(),
            epoch: session.epoch,
            roles: session.roles.clone(),
            scope: scope(&session.roles),
            preferred_username: self.token_policy.username.then(|| session.username.clone()),
        };
        let keys = self.keys.ring();
        let refresh_token = RefreshToken { session_id: session.id, generation: session.rotation.generation };
        Ok(TokenPair {
            access_token: sign_access_token(&claims, keys.signing()?)?,
            access_token_expires_at: whole_seconds(expires_at),
            refresh_token: keys.encode_refresh(refresh_token)?,
            refresh_token_expires_at: session.idle_expires_at.min(session.expires_at),
            session_id: session.id,
        })
    }

    /// The session and generation of a refresh token; None for what is none of ours.
    ///
    /// # Errors
    /// [`Error::KeyUnusable`]; [`Error::RevocationsStale`] while nobody can say that its key is not ours.
    pub async fn read_refresh_token(&self, text: &str) -> Result<Option<RefreshToken>, Error> {
        let read = || self.keys.ring().decode_refresh(text);
        let mut decoded = read()?;
        if decoded == Decoded::KeyUnknown {
            self.base.log.wait_for_key_update().await?;
            decoded = read()?;
        }
        Ok(match decoded {
            Decoded::Token(token) => Some(token),
            Decoded::Invalid | Decoded::KeyUnknown => None,
        })
    }
}

/// The roles as claim scope. More than fit are left away, so that the largest token is no larger for it.
fn scope(roles: &[String]) -> Option<String> {
    Some(roles.join(" ")).filter(|scope| scope.len() <= MAX_SCOPE)
}

/// Up to 5% less, so that clients do not refresh in step.
fn jittered(ttl: Duration) -> Result<Duration, Error> {
    let [random] = random::bytes::<1>()?;
    Ok(ttl - ttl.mul_f64(f64::from(random) / 255.0 * 0.05))
}

fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}
