//! Refresh tokens: `csr_` + base64url( version | key number | session id | generation | tag ). The tag is an HMAC-SHA256
//! over all that comes before it (RFC 9700 section 4.14.2), so a token that was never issued is refused without a
//! look-up, and the token of a generation is a pure function of session, generation and key: nothing of it is stored.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::secret::Secret;
use crate::domain::ids::SessionId;

const PREFIX: &str = "csr_";
const VERSION: u8 = 1;
const BODY: usize = 1 + 2 + 16 + 4;
const TOKEN: usize = BODY + 32;
const ENCODED: usize = TOKEN.div_ceil(3) * 4 - 2;

/// The length of a key's secret, in bytes.
pub const KEY_BYTES: usize = 32;

/// What a refresh token says, its tag checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session it continues.
    pub session_id: SessionId,
    /// Which of the session's tokens it is, from 1.
    pub generation: u32,
}

/// The key that makes and checks tags.
pub struct RefreshTokenKey {
    number: u16,
    key: hmac::Key,
}

impl RefreshTokenKey {
    /// A key from its secret.
    pub fn new(number: u16, secret: &[u8; KEY_BYTES]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        Self { number, key }
    }

    /// The one text of a token.
    pub fn encode(&self, token: RefreshToken) -> Secret {
        let mut bytes = Vec::with_capacity(TOKEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(token.session_id.0.as_bytes());
        bytes.extend_from_slice(&token.generation.to_be_bytes());
        let tag = hmac::sign(&self.key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Reads a token; None unless this key made it. The tag is compared in constant time.
    pub fn decode(&self, text: &str) -> Option<RefreshToken> {
        let text = text.strip_prefix(PREFIX).filter(|t| t.len() == ENCODED)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, tag) = bytes.split_at_checked(BODY)?;
        hmac::verify(&self.key, body, tag).ok()?;
        let (&version, rest) = body.split_first()?;
        let (number, rest) = rest.split_first_chunk::<2>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let generation = u32::from_be_bytes(*rest.first_chunk::<4>()?);
        (version == VERSION && u16::from_be_bytes(*number) == self.number)
            .then(|| RefreshToken { session_id: SessionId(Uuid::from_bytes(*session)), generation })
    }
}

impl fmt::Debug for RefreshTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RefreshTokenKey({}, ..)", self.number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::*;

    fn key() -> RefreshTokenKey {
        RefreshTokenKey::new(1, &[7; KEY_BYTES])
    }

    fn token() -> RefreshToken {
        RefreshToken { session_id: SessionId::new(OffsetDateTime::UNIX_EPOCH), generation: 1 }
    }

    #[test]
    fn r32_every_altered_character_is_noticed() {
        let text = key().encode(token()).expose().to_owned();
        for i in 0..text.len() {
            for other in ['A', 'B', '-', '=', ' '] {
                let mut altered: Vec<char> = text.chars().collect();
                if altered[i] == other {
                    continue;
                }
                altered[i] = other;
                let altered: String = altered.into_iter().collect();
                assert_eq!(key().decode(&altered), None, "{altered}");
            }
        }
    }

    #[test]
    fn tokens_of_other_keys_and_forms_are_refused() {
        let text = key().encode(token()).expose().to_owned();
        assert_eq!(RefreshTokenKey::new(2, &[7; KEY_BYTES]).decode(&text), None);
        assert_eq!(RefreshTokenKey::new(1, &[8; KEY_BYTES]).decode(&text), None);
        let cut = &text[..text.len() - 1];
        for bad in ["", "csr_", &text[4..], cut, &format!("{text}A"), &format!("{text}=")] {
            assert_eq!(key().decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(id in any::<[u8; 16]>(), generation in any::<u32>()) {
            let token = RefreshToken { session_id: SessionId(Uuid::from_bytes(id)), generation };
            let text = key().encode(token);
            prop_assert_eq!(text.expose().len(), PREFIX.len() + ENCODED);
            prop_assert_eq!(key().decode(text.expose()), Some(token));
            prop_assert_eq!(key().encode(token), text);
        }

        #[test]
        fn garbage_never_panics(text in "(csr_)?[A-Za-z0-9_-]{0,90}") {
            prop_assert_eq!(key().decode(&text), None);
        }
    }
}
