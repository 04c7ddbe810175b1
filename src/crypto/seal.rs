//! Sealing of private keys at rest: AES-256-GCM under the master key. A sealed blob is bound to the row it belongs to by
//! associated data, so that rows cannot be swapped.
//!
//! Layout: version (1 byte) | nonce (12) | ciphertext | tag (16).

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::error::Error;

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;

/// The key that seals all others. Comes from a file, is never stored.
pub struct MasterKey(RandomizedNonceKey);

impl MasterKey {
    /// Reads a file's content: 32 bytes in base64, such as `openssl rand -base64 32` prints.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], which never holds the content.
    pub fn from_file_content(content: &str) -> Result<Self, Error> {
        let invalid = || Error::invalid("master-key-file", "32 bytes in base64, as `openssl rand -base64 32` prints");
        let bytes = Zeroizing::new(STANDARD.decode(content.trim()).map_err(|_| invalid())?);
        if bytes.len() != KEY_BYTES {
            return Err(invalid());
        }
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| invalid())?;
        Ok(Self(key))
    }

    /// A fresh master key in the form of its file.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub fn generate() -> Result<Zeroizing<String>, Error> {
        let bytes = Zeroizing::new(super::random::bytes::<KEY_BYTES>()?);
        Ok(Zeroizing::new(format!("{}\n", STANDARD.encode(&bytes[..]))))
    }

    /// Seals `plain` for the row that `context` names.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub fn seal(&self, plain: &[u8], context: &str) -> Result<Vec<u8>, Error> {
        let mut text = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| Error::internal("sealing failed"))?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what [`MasterKey::seal`] made for the same `context`.
    ///
    /// # Errors
    /// [`Error::Internal`] when it was altered, or sealed by another key or for another row.
    pub fn open(&self, sealed: &[u8], context: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.try_open(sealed, context)
            .ok_or_else(|| Error::internal(format!("the sealed {context} does not open with this master key")))
    }

    fn try_open(&self, sealed: &[u8], context: &str) -> Option<Zeroizing<Vec<u8>>> {
        let (&VERSION, rest) = sealed.split_first()? else {
            return None;
        };
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(context.as_bytes());
        let length = self.0.open_in_place(nonce, aad, &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        MasterKey::from_file_content(&MasterKey::generate().expect("random")).expect("valid")
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_row_and_key_alone() {
        let key = key();
        let sealed = key.seal(b"private", "key 1").expect("sealed");
        assert_eq!(key.open(&sealed, "key 1").expect("opens").as_slice(), b"private");
        assert!(key.open(&sealed, "key 2").is_err());
        assert!(self::key().open(&sealed, "key 1").is_err());
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let key = key();
        let sealed = key.seal(b"private", "key 1").expect("sealed");
        for i in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[i] ^= 1;
            assert!(key.open(&altered, "key 1").is_err(), "byte {i}");
            assert!(key.open(&sealed[..i], "key 1").is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_wrong_short_or_missing_master_key_is_refused_without_showing_it() {
        for bad in ["", "c2hvcnQ=", "not base64 at all!", &STANDARD.encode([7; 33])] {
            let error = MasterKey::from_file_content(bad).expect_err("refused");
            assert!(bad.is_empty() || !error.to_string().contains(bad));
        }
    }
}
