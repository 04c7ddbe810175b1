//! argon2 (RFC 9106) as a PHC string: i, d and id, both versions, salts and hashes of any length.

use argon2::{Argon2, password_hash::phc::PasswordHash as Phc};
use zeroize::Zeroizing;

use super::{
    super::phc,
    parts::{Read, output, same},
};
use crate::error::Error;

const MIN_SALT: usize = 8;

pub(super) const FORM: &str = "argon2 with m, t, p within the caps, a salt of at least 8 and a hash of 16 to 64 bytes";

/// A hash by argon2.
pub struct Argon2Hash {
    /// The function with its parameters.
    pub function: Box<Argon2<'static>>,
    /// The salt of the hash.
    pub salt: Vec<u8>,
    /// The output for the right password.
    pub expected: Vec<u8>,
    cost: String,
}

pub(super) fn read(text: &str) -> Read<Argon2Hash> {
    match text.split('$').collect::<Vec<_>>()[..] {
        ["", "argon2i" | "argon2d" | "argon2id", ..] => Some(argon2_of(text).ok_or(FORM)),
        _ => None,
    }
}

fn argon2_of(text: &str) -> Option<Argon2Hash> {
    let phc = Phc::new(text).ok()?;
    let salt = phc.salt.as_ref().map(|salt| salt.as_ref().to_vec()).filter(|salt| salt.len() >= MIN_SALT)?;
    let expected = output(phc.hash.as_ref().map(|hash| hash.as_bytes().to_vec()))?;
    let function = phc::reader(&phc, None).map(Box::new)?;
    let cost = format!("{} {} {}", phc.algorithm, phc.version.unwrap_or_default(), phc.params);
    Some(Argon2Hash { function, salt, expected, cost })
}

impl Argon2Hash {
    pub(super) fn matches(&self, password: &[u8]) -> Result<bool, Error> {
        let mut output = Zeroizing::new(vec![0; self.expected.len()]);
        let computed = self.function.hash_password_into(password, &self.salt, &mut output);
        computed.map_err(|error| Error::internal(error.to_string()))?;
        Ok(same(&output, &self.expected))
    }

    pub(super) fn cost(&self) -> &str {
        &self.cost
    }
}
