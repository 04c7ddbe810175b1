//! What the fuzz targets share: fixed keys, so that seeds stay valid, and what has to hold for whatever is accepted.

pub mod access_token;
pub mod password_hash;
pub mod refresh_token;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Canonical base64url.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Texts that are not `text` and that a careless reader may take for it.
fn near(text: &str) -> Vec<String> {
    let mut near =
        vec![format!("{text}="), format!("{text}=="), format!("{text}\n"), format!(" {text}"), format!("{text}.")];
    near.extend(text.match_indices('.').map(|(at, _)| format!("{}={}", &text[..at], &text[at..])));
    // Too many to try all; the lengths of tokens differ, so all are tried in the end.
    for at in (text.len() % 37..text.len()).step_by(37) {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = other_case(bytes[at]);
        near.extend(String::from_utf8(bytes));
    }
    near.retain(|other| other != text);
    near
}

fn other_case(byte: u8) -> u8 {
    if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() }
}
