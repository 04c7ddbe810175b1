//! The user and session of a token.

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
};

use countersign_proto::v1;
use countersign_token::claims;

/// The user and session of a valid access token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principal {
    /// The user's id.
    pub user_id: String,
    /// The session's id.
    pub session_id: String,
    /// The token's id (claim `jti`).
    pub token_id: String,
    /// The user's roles when the token was issued.
    pub roles: Vec<String>,
    /// The services that the token is for.
    pub audience: Vec<String>,
    /// The user's name, where tokens say it.
    pub username: Option<String>,
    /// The moment at which the token was issued, in seconds since 1970.
    pub issued_at: u64,
    /// The moment at which it expires, in seconds since 1970.
    pub expires_at: u64,
}

/// The principal of a token that was verified. The layer puts it into the extensions of a request.
#[derive(Clone, Debug)]
pub struct Authenticated(pub(crate) Arc<Principal>);

/// The principal of a token that is remembered, made once.
pub(crate) type Kept = OnceLock<Arc<Principal>>;

impl Deref for Authenticated {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0
    }
}

impl Principal {
    /// True if the user had the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known == role)
    }
}

impl From<&claims::Principal> for Principal {
    fn from(it: &claims::Principal) -> Self {
        Self {
            user_id: it.user_id.to_string(),
            session_id: it.session_id.to_string(),
            token_id: it.token_id.clone(),
            roles: it.roles.clone(),
            audience: it.audience.clone(),
            username: it.username.clone(),
            issued_at: it.issued_at,
            expires_at: it.expires_at,
        }
    }
}

impl From<v1::Principal> for Principal {
    fn from(it: v1::Principal) -> Self {
        let seconds = |at: Option<prost_types::Timestamp>| at.map_or(0, |at| u64::try_from(at.seconds).unwrap_or(0));
        Self {
            user_id: it.user_id,
            session_id: it.session_id,
            token_id: it.token_id,
            roles: it.roles,
            audience: it.audience,
            username: Some(it.username).filter(|name| !name.is_empty()),
            issued_at: seconds(it.issued_at),
            expires_at: seconds(it.expires_at),
        }
    }
}
