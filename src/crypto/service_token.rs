//! The token by which a service administers: random text from a file, compared by its SHA-256 in constant time.

use std::fmt;

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{Digest, SHA256, digest},
};

use crate::error::Error;

/// Shorter ones could be guessed.
const MIN_CHARS: usize = 32;

/// The digest that is kept of a service token.
#[derive(Clone)]
pub struct ServiceTokenHash(Digest);

impl ServiceTokenHash {
    /// Reads a file's content.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is short or holds anything but visible ASCII.
    pub fn from_file_content(content: &str) -> Result<Self, Error> {
        let token = content.trim();
        if token.len() < MIN_CHARS || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid(
                "admin-token-file",
                format!("at least {MIN_CHARS} visible ASCII characters on one line"),
            ));
        }
        Ok(Self(digest(&SHA256, token.as_bytes())))
    }

    /// True if `token` is the one.
    pub fn matches(&self, token: &[u8]) -> bool {
        let other = digest(&SHA256, token);
        verify_slices_are_equal(self.0.as_ref(), other.as_ref()).is_ok()
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
        assert!(hash.matches(token.as_bytes()));
        for other in ["", "0123456789abcdef0123456789abcdeF", &token[1..]] {
            assert!(!hash.matches(other.as_bytes()));
        }
    }

    #[test]
    fn a_short_or_strange_token_is_refused() {
        for bad in ["", "short", "0123456789abcdef 0123456789abcdef"] {
            assert!(ServiceTokenHash::from_file_content(bad).is_err());
        }
    }
}
