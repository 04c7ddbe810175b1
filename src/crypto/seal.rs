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

/// The most master keys that a list may hold.
const MAX_KEYS: usize = 16;

/// The keys that seal all others: the first one seals, all of them open. They come from a file or the environment, and
/// are never stored.
pub struct MasterKeys {
    first: RandomizedNonceKey,
    older: Vec<RandomizedNonceKey>,
}

/// The master key that has sealed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedBy {
    /// The first one.
    First,
    /// Another one of the list.
    Older,
}

impl MasterKeys {
    /// Reads a list: one key on each line, 32 bytes in base64, such as `countersign keys generate-master` prints.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `setting`, which never holds the content.
    pub fn parse(setting: &'static str, list: &str) -> Result<Self, Error> {
        let advice = "32 bytes in base64 on each line, as `countersign keys generate-master` prints";
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(list.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let invalid = || Error::invalid(setting, format!("line {number}: {advice}"));
            let bytes = Zeroizing::new(STANDARD.decode(line.trim()).map_err(|_| invalid())?);
            if bytes.len() != KEY_BYTES {
                return Err(invalid());
            }
            keys.push(RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| invalid())?);
        }
        if keys.len() > MAX_KEYS {
            return Err(Error::invalid(setting, format!("at most {MAX_KEYS} keys")));
        }
        let mut keys = keys.into_iter();
        let first = keys.next().ok_or_else(|| Error::invalid(setting, format!("no key: {advice}")))?;
        Ok(Self { first, older: keys.collect() })
    }

    /// A fresh master key, as a line of the list.
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
            .first
            .seal_in_place_append_tag(Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| Error::internal("sealing failed"))?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what [`MasterKeys::seal`] made for the same `context`, and says by which key.
    ///
    /// # Errors
    /// [`Error::Internal`] when it was altered, or sealed by a key that is not on the list or for another row.
    pub fn open(&self, sealed: &[u8], context: &str) -> Result<(Zeroizing<Vec<u8>>, SealedBy), Error> {
        if let Some(plain) = open_with(&self.first, sealed, context) {
            return Ok((plain, SealedBy::First));
        }
        self.older
            .iter()
            .find_map(|key| open_with(key, sealed, context))
            .map(|plain| (plain, SealedBy::Older))
            .ok_or_else(|| Error::internal(format!("the sealed {context} does not open with this master key")))
    }
}

fn open_with(key: &RandomizedNonceKey, sealed: &[u8], context: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (&VERSION, rest) = sealed.split_first()? else {
        return None;
    };
    let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = Zeroizing::new(text.to_vec());
    let aad = Aad::from(context.as_bytes());
    let length = key.open_in_place(nonce, aad, &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> String {
        MasterKeys::generate().expect("random").to_string()
    }

    fn keys(lines: &[&str]) -> MasterKeys {
        MasterKeys::parse("master-key-file", &lines.concat()).expect("valid")
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_row_and_key_alone() {
        let keys = keys(&[&line()]);
        let sealed = keys.seal(b"private", "key 1").expect("sealed");
        assert_eq!(keys.open(&sealed, "key 1").expect("opens").0.as_slice(), b"private");
        assert!(keys.open(&sealed, "key 2").is_err());
        assert!(self::keys(&[&line()]).open(&sealed, "key 1").is_err());
    }

    #[test]
    fn the_first_key_of_a_list_seals_and_all_open() {
        let (old, new) = (line(), line());
        let sealed = keys(&[&old]).seal(b"private", "key 1").expect("sealed");
        let list = keys(&[&new, "\n", &old]);
        let (plain, by) = list.open(&sealed, "key 1").expect("opens");
        assert_eq!((plain.as_slice(), by), (&b"private"[..], SealedBy::Older));
        let resealed = list.seal(&plain, "key 1").expect("sealed");
        assert_eq!(keys(&[&new]).open(&resealed, "key 1").expect("opens").1, SealedBy::First);
        assert!(keys(&[&old]).open(&resealed, "key 1").is_err());
    }

    #[test]
    fn every_altered_byte_is_noticed() {
        let keys = keys(&[&line()]);
        let sealed = keys.seal(b"private", "key 1").expect("sealed");
        for i in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[i] ^= 1;
            assert!(keys.open(&altered, "key 1").is_err(), "byte {i}");
            assert!(keys.open(&sealed[..i], "key 1").is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_wrong_short_or_missing_master_key_is_refused_without_showing_it() {
        let good = line();
        let second = format!("{good}c2hvcnQ=\n");
        for (bad, says) in [
            ("", "no key"),
            ("\n \n", "no key"),
            ("c2hvcnQ=", "line 1: 32 bytes in base64"),
            ("not base64 at all!", "line 1: 32 bytes in base64"),
            (&STANDARD.encode([7; 33]), "line 1: 32 bytes in base64"),
            (&second, "line 2: 32 bytes in base64"),
            (&good.repeat(17), "at most 16 keys"),
        ] {
            let error = MasterKeys::parse("master-key-file", bad).expect_err("refused").to_string();
            assert!(error.starts_with(&format!("master-key-file: {says}")) && error.lines().count() == 1, "{error}");
            let shown = bad.lines().any(|line| !line.trim().is_empty() && error.contains(line));
            assert!(!shown, "{error}");
        }
    }
}
