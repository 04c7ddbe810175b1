//! The memory of access tokens that are refused although a key of ours was needed to see it: forged ones, and those that have
//! expired. Sent again, they cost no signature. Anybody can fill it, so it is small, and apart from the memory of tokens that are
//! accepted. A token is found by a hash of all of it, under a key that is this process's own.

use std::{collections::hash_map::RandomState, fmt, sync::Arc};

use quick_cache::{
    Weighter,
    sync::{Cache, DefaultLifecycle},
};

use super::verified_tokens::VerifiedToken;

/// Bytes of all that is remembered, about.
const CAPACITY: u64 = 4 * 1024 * 1024;
/// Bytes of a token that is remembered, without its text.
const ENTRY: u64 = 512;

/// A token that is refused.
#[derive(Debug)]
pub enum RefusedToken<K> {
    /// A token that names a key of ours, which has not signed it.
    Forged,
    /// A token that one of our keys has signed, and that has expired.
    Expired(Arc<VerifiedToken<K>>),
}

/// The tokens that were refused last; bounded.
pub struct RefusedTokens<K>(Cache<Box<str>, RefusedToken<K>, ByText, RandomState>);

#[derive(Clone)]
struct ByText;

impl<K> Weighter<Box<str>, RefusedToken<K>> for ByText {
    fn weight(&self, token: &Box<str>, _: &RefusedToken<K>) -> u64 {
        token.len() as u64 + ENTRY
    }
}

/// Cheap, for a look into the memory: not derived, which would ask the same of `K`.
impl<K> Clone for RefusedToken<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Forged => Self::Forged,
            Self::Expired(token) => Self::Expired(Arc::clone(token)),
        }
    }
}

impl<K> RefusedTokens<K> {
    /// A token, if it is remembered.
    pub fn get(&self, token: &str) -> Option<RefusedToken<K>> {
        self.0.get(token)
    }

    /// Remembers a token.
    pub fn insert(&self, token: &str, refused: RefusedToken<K>) {
        self.0.insert(token.into(), refused);
    }

    /// The number of tokens that are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K> Default for RefusedTokens<K> {
    fn default() -> Self {
        let entries = usize::try_from(CAPACITY / (2 * ENTRY)).unwrap_or(usize::MAX);
        Self(Cache::with(entries, CAPACITY, ByText, RandomState::new(), DefaultLifecycle::default()))
    }
}

/// The tokens are secrets: one that has expired here may be accepted elsewhere.
impl<K> fmt::Debug for RefusedTokens<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefusedTokens({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_by_bytes_whoever_fills_it() {
        let tokens = RefusedTokens::<()>::default();
        for n in 0..20_000 {
            // The same signature, so the same end.
            tokens.insert(&format!("{n}.{}", "s".repeat(7000)), RefusedToken::Forged);
        }
        let most = usize::try_from(CAPACITY / 7000).expect("small");
        assert!((1..=most).contains(&tokens.len()), "{}", tokens.len());
        let tokens = RefusedTokens::<()>::default();
        for n in 0..20_000 {
            tokens.insert(&n.to_string(), RefusedToken::Forged);
        }
        let most = usize::try_from(CAPACITY / ENTRY).expect("small");
        assert!((1..=most).contains(&tokens.len()), "{}", tokens.len());
        assert!(tokens.get("19999").is_some() && tokens.get("x").is_none());
    }
}
