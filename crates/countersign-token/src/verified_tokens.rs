//! The memory of access tokens whose signature has been verified, so that the next look need not. What is remembered is
//! whom a token names, never that it is accepted: time, audience and revocation are checked at every look-up. Only what
//! one of our keys has signed gets in, so nobody fills it with tokens of his own making. The whole text is compared, so
//! no two tokens that are told apart by one byte are one.

use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use quick_cache::{
    Equivalent, UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::claims::Principal;

/// The bytes of a token that are hashed: most of its signature, which differs for each. By a key that is this process's own.
const HASHED: usize = 64;

/// A token that one of our keys has signed. `K` is what those who answer keep with it, as long as it is remembered.
#[derive(Debug)]
pub struct VerifiedToken<K> {
    /// The user and session that the token names.
    pub principal: Principal,
    /// The thing that is kept with the token.
    pub kept: K,
}

/// The tokens that were verified last; bounded.
pub struct VerifiedTokens<K>(Option<Remembered<K>>);

type Remembered<K> = Cache<Token<Box<str>>, Arc<VerifiedToken<K>>, UnitWeighter, RandomState>;

impl<K: Default> VerifiedToken<K> {
    /// A token that names `principal`, with which nothing is kept yet.
    pub fn new(principal: Principal) -> Arc<Self> {
        Arc::new(Self { principal, kept: K::default() })
    }
}

#[derive(Clone)]
struct Token<T>(T);

impl<T: AsRef<str>> Hash for Token<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_ref().as_bytes();
        state.write(bytes.get(bytes.len().saturating_sub(HASHED)..).unwrap_or_default());
    }
}

impl Equivalent<Token<Box<str>>> for Token<&str> {
    fn equivalent(&self, key: &Token<Box<str>>) -> bool {
        self.0 == &*key.0
    }
}

impl PartialEq for Token<Box<str>> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Token<Box<str>> {}

impl<K> VerifiedTokens<K> {
    /// Room for so many; none for 0.
    pub fn new(capacity: usize) -> Self {
        let cache = || {
            let (weight, lifecycle) = (capacity as u64, DefaultLifecycle::default());
            Cache::with(capacity, weight, UnitWeighter, RandomState::new(), lifecycle)
        };
        Self((capacity > 0).then(cache))
    }

    /// A token, if it is remembered.
    pub fn get(&self, token: &str) -> Option<Arc<VerifiedToken<K>>> {
        self.0.as_ref()?.get(&Token(token))
    }

    /// Remembers a token that one of our keys has signed.
    pub fn insert(&self, token: &str, verified: Arc<VerifiedToken<K>>) {
        if let Some(cache) = &self.0 {
            cache.insert(Token(token.into()), verified);
        }
    }

    /// Forgets those that `keep` does not want.
    pub fn retain(&self, keep: impl Fn(&Principal) -> bool) {
        if let Some(cache) = &self.0 {
            cache.retain(|_, verified| keep(&verified.principal));
        }
    }

    /// The number of tokens that are remembered.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Cache::len)
    }

    /// True if none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tokens are secrets.
impl<K> fmt::Debug for VerifiedTokens<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedTokens({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;
    use crate::ids::{SessionId, UserId};

    fn verified(expires_at: u64) -> Arc<VerifiedToken<()>> {
        VerifiedToken::new(Principal {
            user_id: UserId::new(OffsetDateTime::UNIX_EPOCH),
            session_id: SessionId::new(OffsetDateTime::UNIX_EPOCH),
            epoch: 0,
            opened_at: 0,
            token_id: "j".to_owned(),
            roles: vec![],
            audience: vec![],
            username: None,
            issued_at: 0,
            starts_at: 0,
            expires_at,
        })
    }

    #[test]
    fn a_token_that_differs_in_one_byte_is_another() {
        let tokens = VerifiedTokens::new(10);
        let token = format!("header.claims.{}", "s".repeat(86));
        tokens.insert(&token, verified(1));
        assert!(tokens.get(&token).is_some());
        for place in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[place] = b'x';
            assert!(tokens.get(&String::from_utf8(other).expect("ASCII")).is_none(), "{place}");
        }
        assert!(tokens.get("").is_none() && tokens.get(&token[1..]).is_none());
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for_and_none_that_has_to_go() {
        let tokens = VerifiedTokens::new(100);
        for n in 0..1000 {
            tokens.insert(&n.to_string(), verified(n % 2));
        }
        assert!((1..=100).contains(&tokens.len()), "{}", tokens.len());
        tokens.retain(|principal| principal.expires_at == 1);
        let left = (0..1000).filter_map(|n: u64| tokens.get(&n.to_string()));
        assert!(left.count() > 0);
        tokens.retain(|_| false);
        assert!(tokens.is_empty());
        let none = VerifiedTokens::new(0);
        none.insert("token", verified(1));
        assert!(none.get("token").is_none() && none.is_empty());
    }
}
