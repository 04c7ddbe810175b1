//! One round of a digest, with a salt behind the password or none: hashes that are weak whatever the digest.

use base64::Engine as _;

use super::{
    digests::Digest,
    parts::{Read, STANDARD, from_hex, same, scheme},
};

const MAX_SALT: usize = 64;

pub(super) const FORM: &str =
    "a digest of MD5, SHA-1, SHA-256 or SHA-512 in base64, with its salt behind it if it has one";

/// A digest of the password, and of the salt behind it.
pub struct Once {
    digest: Digest,
    salt: Vec<u8>,
    /// The digest for the right password.
    pub expected: Vec<u8>,
}

pub(super) fn read(text: &str) -> Read<Once> {
    let Some((name, rest)) = scheme(text) else {
        let digest = match text.len() {
            32 => Digest::Md5,
            40 => Digest::Sha1,
            _ => return None,
        };
        let expected = from_hex(text)?;
        return Some(Ok(Once { digest, salt: Vec::new(), expected }));
    };
    let (digest, is_salted) = match name.as_str() {
        "md5" => (Digest::Md5, false),
        "sha" => (Digest::Sha1, false),
        "sha256" => (Digest::Sha256, false),
        "sha512" => (Digest::Sha512, false),
        "smd5" => (Digest::Md5, true),
        "ssha" => (Digest::Sha1, true),
        "ssha256" => (Digest::Sha256, true),
        "ssha512" => (Digest::Sha512, true),
        _ => return None,
    };
    Some(once_of(digest, is_salted, rest).ok_or(FORM))
}

fn once_of(digest: Digest, is_salted: bool, text: &str) -> Option<Once> {
    let bytes = STANDARD.decode(text).ok()?;
    let (expected, salt) = bytes.split_at_checked(digest.length())?;
    let fits = if is_salted { (1..=MAX_SALT).contains(&salt.len()) } else { salt.is_empty() };
    fits.then(|| Once { digest, salt: salt.to_vec(), expected: expected.to_vec() })
}

impl Once {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        same(&self.digest.of(&[password, &self.salt]), &self.expected)
    }

    pub(super) fn cost(&self) -> String {
        self.digest.to_string()
    }
}
