//! Tokens by which services show who they are: random text, compared by its SHA-256 in constant time.

use std::fmt;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{random, secret::Secret};
use crate::error::Error;

/// Shorter ones could be guessed.
const MIN_CHARS: usize = 32;

/// Random bytes of a token that is made here.
const BYTES: usize = 32;

/// The SHA-256 of a token.
pub fn sha256(token: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token).as_ref());
    bytes
}

/// The SHA-256 of the token that a file holds, which `setting` names.
///
/// # Errors
/// [`Error::InvalidArgument`] when the token is short or holds anything but visible ASCII.
pub fn sha256_of_file(setting: &'static str, content: &str) -> Result<[u8; 32], Error> {
    let token = content.trim();
    if token.len() < MIN_CHARS || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Error::invalid(setting, format!("at least {MIN_CHARS} visible ASCII characters on one line")));
    }
    Ok(sha256(token.as_bytes()))
}

/// True if two digests are equal; takes as long whether they are or not.
pub fn is_equal(one: &[u8; 32], other: &[u8; 32]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

/// A new token.
///
/// # Errors
/// [`Error::Internal`] when the operating system has no randomness to give.
pub fn generate() -> Result<Secret, Error> {
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(random::bytes::<BYTES>()?)))
}

/// The digest that is kept of the administrators' token.
#[derive(Clone)]
pub struct ServiceTokenHash([u8; 32]);

impl ServiceTokenHash {
    /// Reads a file's content.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is short or holds anything but visible ASCII.
    pub fn from_file_content(content: &str) -> Result<Self, Error> {
        sha256_of_file("admin-token-file", content).map(Self)
    }

    /// True if both are of the same token.
    pub fn is_same(&self, other: &Self) -> bool {
        is_equal(&self.0, &other.0)
    }

    /// True if `sha256` is that of the token.
    pub fn matches(&self, sha256: &[u8; 32]) -> bool {
        is_equal(&self.0, sha256)
    }
}

impl fmt::Debug for ServiceTokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceTokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_matches() {
        let token = "0123456789abcdef0123456789abcdef";
        let hash = ServiceTokenHash::from_file_content(&format!("{token}\n")).expect("valid");
        assert!(hash.matches(&sha256(token.as_bytes())));
        for other in ["", "0123456789abcdef0123456789abcdeF", &token[1..]] {
            assert!(!hash.matches(&sha256(other.as_bytes())));
        }
    }

    #[test]
    fn a_token_that_is_made_is_one_that_a_file_may_have() {
        let [one, other] = [(); 2].map(|()| generate().expect("randomness"));
        assert!(ServiceTokenHash::from_file_content(one.expose()).is_ok() && one.expose() != other.expose());
    }

    #[test]
    fn a_short_or_strange_token_is_refused() {
        for bad in ["", "short", "0123456789abcdef 0123456789abcdef"] {
            assert!(ServiceTokenHash::from_file_content(bad).is_err());
        }
    }
}
