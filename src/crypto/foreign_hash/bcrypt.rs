//! bcrypt (Provos and Mazières 1999), of the password or of a digest of it: Django's bcrypt_sha256, passlib's
//! bcrypt-sha256, WordPress 6.8.

use std::ops::RangeInclusive;

use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA384};
use base64::Engine as _;
use zeroize::Zeroizing;

use super::{
    digests::Digest,
    parts::{BCRYPT, Read, STANDARD, parameters, same, to_hex},
};

/// About a second of one core at most.
const COST: RangeInclusive<u32> = 4..=14;
/// Bytes that are stored of the 24 that bcrypt computes.
const OUTPUT: usize = 23;
/// Bytes that bcrypt reads of a password, and of the NUL at its end.
pub(super) const BCRYPT_READS: usize = 72;

pub(super) const FORM: &str = "bcrypt as $2b$, a cost of 4 to 14, $ and 53 characters of salt and hash";

/// A hash by bcrypt; 2a, 2b and 2y are one function today.
pub struct Bcrypt {
    /// log2 of the rounds.
    pub cost: u32,
    salt: [u8; 16],
    /// 23 of the 24 bytes that bcrypt computes.
    expected: Vec<u8>,
    before: Before,
}

/// The text that is hashed in the place of the password.
enum Before {
    /// The password itself.
    Nothing,
    /// The password's SHA-256, in hexadecimal.
    Sha256Hex,
    /// The password's SHA-256, in base64.
    Sha256Base64,
    /// An HMAC of it, in base64.
    Hmac(Box<hmac::Key>),
}

pub(super) fn read(text: &str) -> Read<Bcrypt> {
    let read = match text.split('$').collect::<Vec<_>>()[..] {
        ["", "2a" | "2b" | "2y", cost, salt_and_hash] => bcrypt_of(cost, salt_and_hash, Before::Nothing),
        ["bcrypt_sha256", "", "2a" | "2b" | "2y", cost, salt_and_hash] => {
            bcrypt_of(cost, salt_and_hash, Before::Sha256Hex)
        }
        // The password is not trimmed: WordPress does that when it sets one, and not when it checks one.
        ["", "wp", "2y", cost, salt_and_hash] => {
            bcrypt_of(cost, salt_and_hash, Before::Hmac(Box::new(hmac::Key::new(HMAC_SHA384, b"wp-sha384"))))
        }
        ["", "bcrypt-sha256", params, salt, hash] => read_passlib(params, salt, hash),
        _ => return None,
    };
    Some(read.ok_or(FORM))
}

/// Version 2 takes the text of the salt for the key of an HMAC; version 1 has none.
fn read_passlib(params: &str, salt: &str, hash: &str) -> Option<Bcrypt> {
    let (cost, before) = match parameters(params, ["v", "t", "r"]) {
        Some(["2", "2b", cost]) => (cost, Before::Hmac(Box::new(hmac::Key::new(HMAC_SHA256, salt.as_bytes())))),
        Some(_) => return None,
        None => (params.strip_prefix("2b,").or_else(|| params.strip_prefix("2a,"))?, Before::Sha256Base64),
    };
    bcrypt_of(&format!("{cost:0>2}"), &[salt, hash].concat(), before)
}

fn bcrypt_of(cost: &str, salt_and_hash: &str, before: Before) -> Option<Bcrypt> {
    let (salt, hash) = salt_and_hash.split_at_checked(22).filter(|(_, hash)| cost.len() == 2 && hash.len() == 31)?;
    let cost = cost.parse().ok().filter(|cost| COST.contains(cost))?;
    let salt = BCRYPT.decode(salt).ok()?.try_into().ok()?;
    // Not padding in the place of its end.
    let expected = BCRYPT.decode(hash).ok().filter(|hash| hash.len() == OUTPUT)?;
    Some(Bcrypt { cost, salt, expected, before })
}

impl Bcrypt {
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        let output = match &self.before {
            Before::Nothing => self.compute(password),
            Before::Sha256Hex => self.compute(&to_hex(&Digest::Sha256.of(&[password]))),
            Before::Sha256Base64 => self.compute(&encoded(&Digest::Sha256.of(&[password]))),
            Before::Hmac(key) => self.compute(&encoded(hmac::sign(key, password).as_ref())),
        };
        output.get(..self.expected.len()).is_some_and(|output| same(output, &self.expected))
    }

    /// True if a right password need not be the whole of the one that was hashed.
    pub(super) fn reads_part_of(&self, password: &[u8]) -> bool {
        matches!(self.before, Before::Nothing) && password.len() >= BCRYPT_READS
    }

    /// The password ends with a NUL, which counts among the bytes that are read. It holds none (domain/password.rs).
    fn compute(&self, password: &[u8]) -> Zeroizing<[u8; 24]> {
        let mut key = Zeroizing::new(Vec::with_capacity(BCRYPT_READS));
        key.extend(password.iter().chain(&[0]).take(BCRYPT_READS));
        Zeroizing::new(bcrypt::bcrypt(self.cost, self.salt, &key))
    }
}

fn encoded(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(STANDARD.encode(bytes).into_bytes())
}
