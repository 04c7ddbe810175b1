//! Refresh tokens: `csr_` + base64url( version | key number | session id | generation | tag ). The tag is an
//! HMAC-SHA256 over all that comes before it (RFC 9700 section 4.14.2). So a token that was never issued is refused
//! without a look-up. The token of a generation is a pure function of session, generation and key: nothing of it is
//! stored.

use std::{collections::HashMap, fmt};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_token::ids::SessionId;
use uuid::Uuid;

use super::secret::Secret;
use crate::error::Error;

const PREFIX: &str = "csr_";
const VERSION: u8 = 1;
const BODY: usize = 1 + 2 + 16 + 4;
const TOKEN: usize = BODY + 32;
const ENCODED: usize = TOKEN.div_ceil(3) * 4 - 2;

/// The length of a key's secret, in bytes.
pub const KEY_BYTES: usize = 32;

/// The content of a refresh token whose tag was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session that the token continues.
    pub session_id: SessionId,
    /// The number of the token within its session, from 1.
    pub generation: u32,
}

/// The outcome of reading a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The token was made by one of the keys.
    Token(RefreshToken),
    /// The token is none of ours.
    Invalid,
    /// The token names a key that this replica does not know, or not yet.
    KeyUnknown,
}

/// The keys that make and check tags, by number.
#[derive(Debug, Default)]
pub struct RefreshTokenKeys(HashMap<u16, RefreshTokenKey>);

/// A key as its number finds it: usable or not.
pub enum RefreshTokenKey {
    /// A key whose tokens are accepted.
    Key(Box<hmac::Key>),
    /// A key whose tokens are dead.
    Killed,
    /// A key that this replica cannot use, as its log says: nothing is known of its tokens.
    Unusable,
}

impl RefreshTokenKey {
    /// A key from its secret.
    ///
    /// # Errors
    /// [`Error::Internal`] unless it has 32 bytes.
    pub fn parse(secret: &[u8]) -> Result<Self, Error> {
        match secret.len() {
            KEY_BYTES => Ok(Self::Key(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)))),
            _ => Err(Error::internal("a key of refresh tokens has 32 bytes")),
        }
    }
}

impl RefreshTokenKeys {
    /// Adds a key.
    pub fn insert(&mut self, number: u16, key: RefreshTokenKey) {
        self.0.insert(number, key);
    }

    /// The one text of a token made with key `number`; None unless that is a key whose tokens are accepted.
    pub fn encode(&self, number: u16, token: RefreshToken) -> Option<Secret> {
        let Some(RefreshTokenKey::Key(key)) = self.0.get(&number) else {
            return None;
        };
        let mut bytes = Vec::with_capacity(TOKEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(token.session_id.0.as_bytes());
        bytes.extend_from_slice(&token.generation.to_be_bytes());
        let tag = hmac::sign(key, &bytes);
        bytes.extend_from_slice(tag.as_ref());
        Some(Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// A tag of other things than refresh tokens, whose first byte says so.
    pub(super) fn tag(&self, number: u16, bytes: &[u8]) -> Option<hmac::Tag> {
        match self.0.get(&number)? {
            RefreshTokenKey::Key(key) => Some(hmac::sign(key, bytes)),
            RefreshTokenKey::Killed | RefreshTokenKey::Unusable => None,
        }
    }

    /// True if key `number` made the tag. Compared in constant time.
    pub(super) fn is_tag(&self, number: u16, bytes: &[u8], tag: &[u8]) -> bool {
        match self.0.get(&number) {
            Some(RefreshTokenKey::Key(key)) => hmac::verify(key, bytes, tag).is_ok(),
            Some(RefreshTokenKey::Killed | RefreshTokenKey::Unusable) | None => false,
        }
    }

    /// Reads a token; [`Decoded::Invalid`] unless one of the keys made it. The tag is compared in constant time.
    ///
    /// # Errors
    /// [`Error::KeyUnusable`].
    pub fn decode(&self, text: &str) -> Result<Decoded, Error> {
        let Some((bytes, number)) = read(text) else {
            return Ok(Decoded::Invalid);
        };
        match self.0.get(&number) {
            Some(RefreshTokenKey::Key(key)) => Ok(check(&bytes, key).map_or(Decoded::Invalid, Decoded::Token)),
            Some(RefreshTokenKey::Unusable) => Err(Error::KeyUnusable),
            Some(RefreshTokenKey::Killed) => Ok(Decoded::Invalid),
            None => Ok(Decoded::KeyUnknown),
        }
    }
}

/// The bytes of a token, and the number of the key that it names.
fn read(text: &str) -> Option<([u8; TOKEN], u16)> {
    let text = text.strip_prefix(PREFIX).filter(|t| t.len() == ENCODED)?;
    let bytes: [u8; TOKEN] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (&VERSION, rest) = bytes.split_first()? else {
        return None;
    };
    Some((bytes, u16::from_be_bytes(*rest.first_chunk::<2>()?)))
}

fn check(bytes: &[u8; TOKEN], key: &hmac::Key) -> Option<RefreshToken> {
    let (body, tag) = bytes.split_at_checked(BODY)?;
    hmac::verify(key, body, tag).ok()?;
    let (_, rest) = body.split_at_checked(1 + 2)?;
    let (session, generation) = rest.split_first_chunk::<16>()?;
    let generation = u32::from_be_bytes(*generation.first_chunk::<4>()?);
    Some(RefreshToken { session_id: SessionId(Uuid::from_bytes(*session)), generation })
}

impl fmt::Debug for RefreshTokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(..)",
            Self::Killed => "Killed",
            Self::Unusable => "Unusable",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::*;

    /// Keys 1 and 2 and so on, with secrets that begin with these bytes.
    fn keys(secrets: &[u8]) -> RefreshTokenKeys {
        let mut keys = RefreshTokenKeys::default();
        for (number, secret) in (1..).zip(secrets) {
            keys.insert(number, RefreshTokenKey::parse(&[*secret; KEY_BYTES]).expect("key"));
        }
        keys
    }

    fn encode(token: RefreshToken) -> String {
        keys(&[7]).encode(1, token).expect("made").expose().to_owned()
    }

    fn decode(text: &str) -> Option<RefreshToken> {
        token_of(keys(&[7]).decode(text).expect("decided"))
    }

    fn token_of(decoded: Decoded) -> Option<RefreshToken> {
        match decoded {
            Decoded::Token(token) => Some(token),
            Decoded::Invalid | Decoded::KeyUnknown => None,
        }
    }

    fn token() -> RefreshToken {
        RefreshToken { session_id: SessionId::new(OffsetDateTime::UNIX_EPOCH), generation: 1 }
    }

    #[test]
    fn r32_every_altered_character_is_noticed() {
        let text = encode(token());
        for i in 0..text.len() {
            for other in ['A', 'B', '-', '=', ' '] {
                let mut altered: Vec<char> = text.chars().collect();
                if altered[i] == other {
                    continue;
                }
                altered[i] = other;
                let altered: String = altered.into_iter().collect();
                assert_eq!(decode(&altered), None, "{altered}");
            }
        }
    }

    #[test]
    fn tokens_of_other_keys_and_forms_are_refused() {
        let text = encode(token());
        assert_eq!(keys(&[]).decode(&text).expect("decided"), Decoded::KeyUnknown);
        assert_eq!(keys(&[8, 7]).decode(&text).expect("decided"), Decoded::Invalid);
        let cut = &text[..text.len() - 1];
        for bad in ["", "csr_", &text[4..], cut, &format!("{text}A"), &format!("{text}=")] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn tokens_of_older_keys_are_read_and_of_killed_ones_refused() {
        let (token, mut keys) = (token(), keys(&[7, 8]));
        let (old, new) = (encode(token), keys.encode(2, token).expect("made").expose().to_owned());
        assert_ne!(old, new);
        assert_eq!(keys.decode(&old).expect("decided"), Decoded::Token(token));
        assert_eq!(keys.decode(&new).expect("decided"), Decoded::Token(token));
        assert_eq!(keys.encode(3, token), None);
        keys.insert(1, RefreshTokenKey::Killed);
        assert_eq!(keys.decode(&old).expect("decided"), Decoded::Invalid);
        assert_eq!(keys.encode(1, token), None);
        keys.insert(1, RefreshTokenKey::Unusable);
        assert!(matches!(keys.decode(&old), Err(Error::KeyUnusable)));
    }

    #[test]
    fn r18_a_key_of_another_length_is_refused() {
        for length in [0, 31, 33] {
            assert!(RefreshTokenKey::parse(&vec![7; length]).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(id in any::<[u8; 16]>(), generation in any::<u32>()) {
            let token = RefreshToken { session_id: SessionId(Uuid::from_bytes(id)), generation };
            let text = encode(token);
            prop_assert_eq!(text.len(), PREFIX.len() + ENCODED);
            prop_assert_eq!(decode(&text), Some(token));
            prop_assert_eq!(encode(token), text);
        }

        #[test]
        fn garbage_never_panics(text in "(csr_)?[A-Za-z0-9_-]{0,90}") {
            prop_assert_eq!(decode(&text), None);
        }
    }
}
