//! Refresh tokens: fixed keys, and what has to hold for whatever is accepted.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use countersign::crypto::refresh_token::{Decoded, KEY_BYTES, RefreshToken, RefreshTokenKey, RefreshTokenKeys};
use countersign_token::ids::SessionId;
use uuid::Uuid;

use crate::{encode, near};

const SECRETS: [(u16, [u8; KEY_BYTES]); 2] = [(1, [1; KEY_BYTES]), (2, [2; KEY_BYTES])];
/// Whose tokens are dead.
const KILLED: u16 = 3;

static KEYS: LazyLock<RefreshTokenKeys> = LazyLock::new(|| {
    let mut keys = RefreshTokenKeys::default();
    for (number, secret) in SECRETS {
        keys.insert(number, RefreshTokenKey::parse(&secret).expect("32 bytes"));
    }
    keys.insert(KILLED, RefreshTokenKey::Killed);
    keys
});

fn decode(text: &str) -> Option<RefreshToken> {
    match KEYS.decode(text).expect("no key is unusable") {
        Decoded::Token(token) => Some(token),
        Decoded::Invalid | Decoded::KeyUnknown => None,
    }
}

/// `body` with the tag that key 1 gives it.
pub fn tagged(body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRETS[0].1), body);
    format!("csr_{}", encode(&[body, tag.as_ref()].concat()))
}

/// Panics if an accepted text breaks a rule. Whether it was accepted.
pub fn check(text: &str) -> bool {
    let Some(token) = decode(text) else {
        return false;
    };
    let made = SECRETS.map(|(number, _)| KEYS.encode(number, token).expect("made").expose().to_owned());
    assert_eq!(made.iter().filter(|made| *made == text).count(), 1, "accepted, and not what any key makes of it");
    for other in near(text) {
        assert_eq!(decode(&other), None, "accepted beside {text}");
    }
    true
}

/// As [`check`], of a text whose tag is right: accepted are those bodies that the format has, and nothing else.
pub fn check_tagged(body: &[u8]) {
    let text = tagged(body);
    let expected = match body {
        [1, 0, 1, rest @ ..] if rest.len() == 20 => {
            let (session, generation) = rest.split_first_chunk::<16>().expect("long enough");
            let generation = u32::from_be_bytes(generation.try_into().expect("4 bytes"));
            Some(RefreshToken { session_id: SessionId(Uuid::from_bytes(*session)), generation })
        }
        _ => None,
    };
    assert_eq!(decode(&text), expected, "{text}");
    assert_eq!(check(&text), expected.is_some());
}
