//! The keys that access tokens may name.

use std::{collections::HashMap, fmt, str::FromStr};

use jsonwebtoken::jwk::Jwk;
use serde::Deserialize as _;

use super::verifying_key::VerifyingKey;

/// The state of the key that a `kid` names.
#[derive(Debug)]
pub enum KeyState {
    /// A key whose tokens are accepted.
    Key(VerifyingKey),
    /// A key whose tokens are dead.
    Killed,
    /// A key that is ours and cannot be used here: nothing is known of its tokens.
    Unusable,
}

/// Keys, by `kid`.
#[derive(Debug, Default)]
pub struct KeySet(HashMap<String, KeyState>);

/// A text that is no JSON Web Key Set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKeySet;

impl KeySet {
    /// The state of the key of this name.
    pub fn get(&self, kid: &str) -> Option<&KeyState> {
        self.0.get(kid)
    }

    /// Sets the state of a key, in the place of what was said of it before.
    pub fn insert(&mut self, kid: String, state: KeyState) {
        self.0.insert(kid, state);
    }
}

impl FromIterator<(String, KeyState)> for KeySet {
    fn from_iter<I: IntoIterator<Item = (String, KeyState)>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

/// Reads a published key set (RFC 7517 section 5). A key that has no name is passed over. One that is of a kind which is not known
/// here cannot be used: its tokens may be valid.
impl FromStr for KeySet {
    type Err = NoKeySet;

    fn from_str(json: &str) -> Result<Self, NoKeySet> {
        let document: serde_json::Value = serde_json::from_str(json).map_err(|_| NoKeySet)?;
        let keys = document.get("keys").and_then(|keys| keys.as_array()).ok_or(NoKeySet)?;
        // One by one, because a key of an unknown kind must not hide the others.
        let named = keys.iter().filter_map(|key| {
            let name = key.get("kid")?.as_str()?.to_owned();
            let jwk = Jwk::deserialize(key).ok();
            Some((name, jwk.and_then(|jwk| VerifyingKey::from_jwk(&jwk)).map_or(KeyState::Unusable, KeyState::Key)))
        });
        let mut set = Self::default();
        for (name, state) in named {
            // A name that is there twice: what can be used is not hidden by what cannot.
            if matches!(state, KeyState::Key(_)) || set.get(&name).is_none() {
                set.insert(name, state);
            }
        }
        Ok(set)
    }
}

impl fmt::Display for NoKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no JSON Web Key Set")
    }
}

impl std::error::Error for NoKeySet {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::Signer;

    #[test]
    fn a_published_set_is_read_and_tokens_of_what_cannot_be_used_are_no_forgeries() {
        let (one, other) = (Signer::new(), Signer::new());
        let mut nameless = serde_json::to_value(other.jwk("x")).expect("json");
        nameless.as_object_mut().expect("object").remove("kid");
        let foreign = json!({"kty": "OKP", "crv": "X448", "kid": "foreign", "x": "AA", "alg": "EdDSA"});
        let future = json!({"kty": "lattice", "kid": "future"});
        let again = json!({"kty": "lattice", "kid": "one"});
        let set = json!({"keys": [one.jwk("one"), nameless, foreign, future, other.jwk("other"), again, 7], "more": 1});
        let set: KeySet = set.to_string().parse().expect("a set");
        assert!(matches!(set.get("one"), Some(KeyState::Key(key)) if key.verify(b"m", &one.sign(b"m"))));
        assert!(matches!(set.get("other"), Some(KeyState::Key(key)) if key.verify(b"m", &other.sign(b"m"))));
        assert!(["foreign", "future"].iter().all(|name| matches!(set.get(name), Some(KeyState::Unusable))));
        assert_eq!(set.0.len(), 4);
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for bad in ["", "x", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]"#] {
            assert_eq!(bad.parse::<KeySet>().map(drop), Err(NoKeySet), "{bad}");
        }
        assert!(r#"{"keys":[]}"#.parse::<KeySet>().expect("an empty set").0.is_empty());
    }
}
