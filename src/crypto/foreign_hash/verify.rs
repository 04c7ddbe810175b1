//! A hash of another system that was read, and verifying it.

use std::{fmt, num::NonZeroU32};

use argon2::Argon2;
use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey},
    constant_time::verify_slices_are_equal,
    iv::FixedLength,
    pbkdf2,
};
use zeroize::Zeroizing;

use crate::{
    domain::{password::Password, password_hash::Verdict},
    error::Error,
};

/// Bytes that bcrypt reads of a password, and of the NUL at its end.
pub(super) const BCRYPT_READS: usize = 72;
const AES_256_KEY: usize = 32;

/// A hash that was read and may be verified. Never printed.
pub enum ForeignHash {
    /// Provos and Mazières 1999; 2a, 2b and 2y are one function today.
    Bcrypt {
        /// log2 of the rounds.
        cost: u32,
        /// The salt of the hash.
        salt: [u8; 16],
        /// 23 of the 24 bytes that bcrypt computes.
        expected: Vec<u8>,
    },
    /// Scrypt (RFC 7914).
    Scrypt {
        /// N, r and p.
        params: scrypt::Params,
        /// The salt of the hash.
        salt: Vec<u8>,
        /// The output for the right password.
        expected: Vec<u8>,
    },
    /// Firebase's: the signer key, encrypted with what scrypt gives.
    FirebaseScrypt {
        /// N, r and p.
        params: scrypt::Params,
        /// The user's salt, and the project's separator.
        salt: Vec<u8>,
        /// The project's signer key.
        signer_key: Zeroizing<Vec<u8>>,
        /// The output for the right password.
        expected: Vec<u8>,
    },
    /// PBKDF2 (RFC 8018).
    Pbkdf2 {
        /// HMAC of which digest.
        algorithm: pbkdf2::Algorithm,
        /// Number of iterations.
        iterations: NonZeroU32,
        /// The salt of the hash.
        salt: Vec<u8>,
        /// The output for the right password.
        expected: Vec<u8>,
    },
    /// Argon2 (RFC 9106).
    Argon2 {
        /// The function with its parameters.
        function: Box<Argon2<'static>>,
        /// The salt of the hash.
        salt: Vec<u8>,
        /// The output for the right password.
        expected: Vec<u8>,
    },
}

impl ForeignHash {
    /// Compares the hash with `password` as it was typed: other systems do not normalise.
    ///
    /// # Errors
    /// [`Error::Internal`] when a library refuses what was read.
    pub fn verify(&self, password: &Password) -> Result<Verdict, Error> {
        let typed = password.as_typed();
        let right = match self {
            Self::Bcrypt { cost, salt, expected } => {
                let output = Zeroizing::new(bcrypt_of(*cost, *salt, typed));
                output.get(..expected.len()).is_some_and(|output| same(output, expected))
            }
            Self::Scrypt { params, salt, expected } => same(&scrypt_of(params, salt, typed, expected.len())?, expected),
            Self::FirebaseScrypt { params, salt, signer_key, expected } => {
                let key = scrypt_of(params, salt, typed, AES_256_KEY)?;
                same(&encrypt(&key, signer_key)?, expected)
            }
            Self::Pbkdf2 { algorithm, iterations, salt, expected } => {
                pbkdf2::verify(*algorithm, *iterations, salt, typed, expected).is_ok()
            }
            Self::Argon2 { function, salt, expected } => {
                let mut output = Zeroizing::new(vec![0; expected.len()]);
                let computed = function.hash_password_into(typed, salt, &mut output);
                computed.map_err(|error| Error::internal(error.to_string()))?;
                same(&output, expected)
            }
        };
        Ok(if right { Verdict::Right } else { Verdict::Wrong })
    }
}

fn same(output: &[u8], expected: &[u8]) -> bool {
    verify_slices_are_equal(output, expected).is_ok()
}

/// The password ends with a NUL, which counts among the bytes that are read. It holds none (domain/password.rs).
fn bcrypt_of(cost: u32, salt: [u8; 16], password: &[u8]) -> [u8; 24] {
    let mut key = Zeroizing::new(Vec::with_capacity(BCRYPT_READS));
    key.extend(password.iter().chain(&[0]).take(BCRYPT_READS));
    bcrypt::bcrypt(cost, salt, &key)
}

fn scrypt_of(
    params: &scrypt::Params,
    salt: &[u8],
    password: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut output = Zeroizing::new(vec![0; length]);
    scrypt::scrypt(password, salt, params, &mut output).map_err(Error::internal)?;
    Ok(output)
}

/// AES-256 in counter mode from zero, by which encrypting and decrypting are the same.
fn encrypt(key: &[u8], text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut text = Zeroizing::new(text.to_vec());
    let failed = |_| Error::internal("AES failed");
    let key = UnboundCipherKey::new(&AES_256, key).and_then(DecryptingKey::ctr).map_err(failed)?;
    key.decrypt(&mut text, DecryptionContext::Iv128(FixedLength::from([0; 16]))).map_err(failed)?;
    Ok(text)
}

impl fmt::Debug for ForeignHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignHash(..)")
    }
}
