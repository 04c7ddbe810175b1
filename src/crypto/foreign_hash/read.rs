//! Reads the forms. A form that is not met exactly is not guessed at.

use std::{num::NonZeroU32, ops::RangeInclusive};

use argon2::password_hash::phc::PasswordHash as Phc;
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA512};
use base64::{
    Engine as _,
    alphabet::{self, Alphabet},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use super::{super::phc, verify::ForeignHash};
use crate::error::Error;

/// The field of a request that a hash comes in.
pub(super) const FIELD: &str = "password_hash";
const MAX_TEXT: usize = 1024;
/// Shorter ones could be met by chance.
const MIN_OUTPUT: usize = 16;
const MAX_OUTPUT: usize = 64;
const MIN_ARGON2_SALT: usize = 8;
/// About a second of one core each.
const BCRYPT_COST: RangeInclusive<u32> = 4..=14;
/// Bytes that are stored of the 24 that bcrypt computes.
const BCRYPT_OUTPUT: usize = 23;
/// Bytes that scrypt fills, 128 N r p; it takes 128 N r of them at a time.
const MAX_SCRYPT_BYTES: u64 = 256 * 1024 * 1024;
/// Largest number of iterations of one block of output.
const MAX_ITERATIONS: u64 = 2_000_000;

const UNKNOWN: &str = "a hash by argon2, bcrypt, scrypt, PBKDF2 or Firebase's scrypt, in one of the documented forms";
pub(super) const BCRYPT_FORM: &str = "bcrypt as $2b$, a cost of 4 to 14, $ and 53 characters of salt and hash";
pub(super) const SCRYPT_FORM: &str =
    "scrypt with ln, r, p, salt and a hash of 16 to 64 bytes, at most 256 MiB (128 N r p bytes)";
pub(super) const FIREBASE_FORM: &str =
    "firebase-scrypt with ln, r, p, ss, sk, salt and a hash as long as sk, at most 256 MiB";
pub(super) const PBKDF2_FORM: &str = "PBKDF2 with at most 2000000 iterations, a salt and a hash of 16 to 64 bytes";
pub(super) const ARGON2_FORM: &str =
    "argon2 with m, t, p within the caps, a salt of at least 8 and a hash of 16 to 64 bytes";

/// Padding may be there or not; what is left over in the last character is ignored, as bcrypt's makers did.
const fn base64(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

pub(super) const STANDARD: GeneralPurpose = base64(&alphabet::STANDARD);
const BCRYPT: GeneralPurpose = base64(&alphabet::BCRYPT);

impl ForeignHash {
    /// Reads a hash, and refuses one that would cost too much to verify.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `password_hash`. The hash is not part of it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (read, form) = read(text);
        read.ok_or_else(|| Error::invalid(FIELD, form))
    }
}

/// The hash, if it can be read and verified at a bearable cost; and which form was expected.
fn read(text: &str) -> (Option<ForeignHash>, &'static str) {
    if text.len() > MAX_TEXT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return (None, UNKNOWN);
    }
    match &text.split('$').collect::<Vec<_>>()[..] {
        ["", "2a" | "2b" | "2y", cost, salt_and_hash] => (read_bcrypt(cost, salt_and_hash), BCRYPT_FORM),
        ["", "scrypt", params, salt, hash] => (read_scrypt(params, salt, hash), SCRYPT_FORM),
        ["scrypt", n, salt, r, p, hash] => (read_django_scrypt([n, r, p], salt, hash), SCRYPT_FORM),
        ["", "firebase-scrypt", params, salt, hash] => (read_firebase(params, salt, hash), FIREBASE_FORM),
        ["", name @ ("pbkdf2-sha256" | "pbkdf2-sha512"), params, salt, hash] => {
            (read_pbkdf2(name, params, salt, hash), PBKDF2_FORM)
        }
        [name @ ("pbkdf2_sha1" | "pbkdf2_sha256" | "pbkdf2_sha512"), iterations, salt, hash] => {
            // Django takes the text of the salt for the salt.
            (pbkdf2_of(name, iterations, salt.as_bytes().to_vec(), STANDARD.decode(hash).ok()), PBKDF2_FORM)
        }
        ["", "argon2i" | "argon2d" | "argon2id", ..] => (read_argon2(text), ARGON2_FORM),
        _ => (None, UNKNOWN),
    }
}

fn read_bcrypt(cost: &str, salt_and_hash: &str) -> Option<ForeignHash> {
    let (salt, hash) = salt_and_hash.split_at_checked(22).filter(|(_, hash)| cost.len() == 2 && hash.len() == 31)?;
    let cost = cost.parse().ok().filter(|cost| BCRYPT_COST.contains(cost))?;
    let salt = BCRYPT.decode(salt).ok()?.try_into().ok()?;
    // Not padding in the place of its end.
    let expected = BCRYPT.decode(hash).ok().filter(|hash| hash.len() == BCRYPT_OUTPUT)?;
    Some(ForeignHash::Bcrypt { cost, salt, expected })
}

fn read_scrypt(params: &str, salt: &str, hash: &str) -> Option<ForeignHash> {
    let [log_n, r, p] = parameters(params, ["ln", "r", "p"])?;
    let params = scrypt_params(log_n.parse().ok()?, r.parse().ok()?, p.parse().ok()?)?;
    Some(ForeignHash::Scrypt { params, salt: STANDARD.decode(salt).ok()?, expected: output(hash)? })
}

/// Django takes the text of the salt for the salt.
fn read_django_scrypt([n, r, p]: [&str; 3], salt: &str, hash: &str) -> Option<ForeignHash> {
    let n: u32 = n.parse().ok().filter(|n: &u32| n.is_power_of_two())?;
    let params = scrypt_params(u8::try_from(n.ilog2()).ok()?, r.parse().ok()?, p.parse().ok()?)?;
    Some(ForeignHash::Scrypt { params, salt: salt.as_bytes().to_vec(), expected: output(hash)? })
}

fn read_firebase(params: &str, salt: &str, hash: &str) -> Option<ForeignHash> {
    let [log_n, r, p, separator, signer_key] = parameters(params, ["ln", "r", "p", "ss", "sk"])?;
    let params = scrypt_params(log_n.parse().ok()?, r.parse().ok()?, p.parse().ok()?)?;
    let signer_key = Zeroizing::new(STANDARD.decode(signer_key).ok()?);
    let salt = [STANDARD.decode(salt).ok()?, STANDARD.decode(separator).ok()?].concat();
    let expected = output(hash).filter(|hash| hash.len() == signer_key.len())?;
    Some(ForeignHash::FirebaseScrypt { params, salt, signer_key, expected })
}

/// Reads PBKDF2 with the length of the hash or without, or as passlib writes it: the bare number, and `.` for `+`.
fn read_pbkdf2(name: &str, params: &str, salt: &str, hash: &str) -> Option<ForeignHash> {
    let hash = output(&hash.replace('.', "+"));
    let salt = STANDARD.decode(salt.replace('.', "+")).ok()?;
    if let Some([iterations, length]) = parameters(params, ["i", "l"]) {
        return pbkdf2_of(name, iterations, salt, hash.filter(|hash| length.parse() == Ok(hash.len())));
    }
    let iterations = parameters(params, ["i"]).map_or(params, |[iterations]| iterations);
    pbkdf2_of(name, iterations, salt, hash)
}

fn pbkdf2_of(name: &str, iterations: &str, salt: Vec<u8>, expected: Option<Vec<u8>>) -> Option<ForeignHash> {
    let (algorithm, block) = match name.trim_start_matches("pbkdf2").get(1..)? {
        "sha1" => (PBKDF2_HMAC_SHA1, 20),
        "sha256" => (PBKDF2_HMAC_SHA256, 32),
        "sha512" => (PBKDF2_HMAC_SHA512, 64),
        _ => return None,
    };
    let expected = expected.filter(|hash| (MIN_OUTPUT..=MAX_OUTPUT).contains(&hash.len()))?;
    let iterations: NonZeroU32 = iterations.parse().ok()?;
    let blocks = u64::try_from(expected.len().div_ceil(block)).ok()?;
    let affordable = u64::from(iterations.get()) * blocks <= MAX_ITERATIONS;
    affordable.then_some(ForeignHash::Pbkdf2 { algorithm, iterations, salt, expected })
}

fn read_argon2(text: &str) -> Option<ForeignHash> {
    let phc = Phc::new(text).ok()?;
    let (salt, expected) = (phc.salt?.as_ref().to_vec(), phc.hash?.as_bytes().to_vec());
    let long_enough = salt.len() >= MIN_ARGON2_SALT && (MIN_OUTPUT..=MAX_OUTPUT).contains(&expected.len());
    let function = phc::reader(&phc, None).filter(|_| long_enough).map(Box::new)?;
    Some(ForeignHash::Argon2 { function, salt, expected })
}

fn scrypt_params(log_n: u8, r: u32, p: u32) -> Option<scrypt::Params> {
    let n = 1_u64.checked_shl(log_n.into())?;
    let bytes = n.checked_mul(128)?.checked_mul(r.into())?.checked_mul(p.into())?;
    let affordable = (2..=MAX_SCRYPT_BYTES).contains(&n) && bytes <= MAX_SCRYPT_BYTES;
    affordable.then(|| scrypt::Params::new(log_n, r, p).ok())?
}

/// The values of parameters that have exactly these names, in this order.
fn parameters<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Option<[&'a str; N]> {
    let mut pairs = text.split(',');
    let values: Option<Vec<&str>> =
        names.iter().map(|name| pairs.next()?.strip_prefix(name)?.strip_prefix('=')).collect();
    values?.try_into().ok().filter(|_| pairs.next().is_none())
}

fn output(hash: &str) -> Option<Vec<u8>> {
    STANDARD.decode(hash).ok().filter(|hash| (MIN_OUTPUT..=MAX_OUTPUT).contains(&hash.len()))
}
