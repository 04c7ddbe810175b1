//! The master keys at work: stored keys are opened and sealed here, and new ones are made.

use countersign_token::algorithm::Algorithm;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::{
    crypto::{
        pepper::Pepper,
        random,
        refresh_token::{KEY_BYTES, RefreshTokenKey},
        seal::{MasterKeys, SealedBy},
        signing_key::{KeyMaterial, SigningKey},
    },
    domain::{
        key::{Key, Purpose},
        policy::KeyPolicy,
    },
    error::Error,
    store::keys::{StoredKey, StoredKeys},
};

/// The algorithm name under which keys of refresh tokens are stored.
const HMAC_SHA256: &str = "HMAC-SHA256";
/// The algorithm name under which peppers are stored.
const ARGON2: &str = "argon2";
/// The name of the secret of decoys in the log, and what it is sealed for.
pub(super) const DECOYS: &str = "secret of decoys";

/// The master keys.
#[derive(Debug)]
pub(super) struct Vault(MasterKeys);

impl Vault {
    pub(super) fn new(master: MasterKeys) -> Self {
        Self(master)
    }

    pub(super) fn open_access(&self, stored: &StoredKey) -> Result<SigningKey, Error> {
        let algorithm: Algorithm = stored.algorithm.parse().map_err(|_| unknown_algorithm(stored))?;
        let (private, _) = self.open(stored)?;
        SigningKey::parse(algorithm, &KeyMaterial { kid: stored.key.kid.clone(), private })
    }

    pub(super) fn open_refresh(&self, stored: &StoredKey) -> Result<RefreshTokenKey, Error> {
        if stored.algorithm != HMAC_SHA256 {
            return Err(unknown_algorithm(stored));
        }
        RefreshTokenKey::parse(&self.open(stored)?.0)
    }

    /// Checks that a stored key can be used here.
    ///
    /// # Errors
    /// [`Error::Internal`] says why not.
    pub(super) fn try_open(&self, stored: &StoredKey) -> Result<(), Error> {
        match stored.key.purpose {
            Purpose::AccessToken => self.open_access(stored).map(drop),
            Purpose::RefreshToken => self.open_refresh(stored).map(drop),
            Purpose::Pepper => self.open_pepper(stored).map(drop),
        }
    }

    fn open(&self, stored: &StoredKey) -> Result<(Zeroizing<Vec<u8>>, SealedBy), Error> {
        self.0.open(&stored.sealed_key, &context(&stored.key, &stored.algorithm))
    }

    /// The master key that has sealed a key.
    ///
    /// # Errors
    /// [`Error::Internal`] when it does not open.
    pub(super) fn sealed_by(&self, stored: &StoredKey) -> Result<SealedBy, Error> {
        Ok(self.open(stored)?.1)
    }

    /// The key sealed by the first master key; None when it is already.
    ///
    /// # Errors
    /// [`Error::Internal`] when it does not open.
    pub(super) fn resealed(&self, stored: &StoredKey) -> Result<Option<Vec<u8>>, Error> {
        self.reseal(&stored.sealed_key, &context(&stored.key, &stored.algorithm))
    }

    fn reseal(&self, sealed: &[u8], context: &str) -> Result<Option<Vec<u8>>, Error> {
        match self.0.open(sealed, context)? {
            (_, SealedBy::First) => Ok(None),
            (private, SealedBy::Older) => self.0.seal(&private, context).map(Some),
        }
    }

    /// Opens the secret of decoys.
    pub(super) fn open_decoys(&self, sealed: &[u8]) -> Result<[u8; 32], Error> {
        let (secret, _) = self.0.open(sealed, DECOYS)?;
        secret.as_slice().try_into().map_err(|_| Error::internal("the secret of decoys has 32 bytes"))
    }

    /// Seals the secret of decoys.
    pub(super) fn seal_decoys(&self, secret: &[u8; 32]) -> Result<Vec<u8>, Error> {
        self.0.seal(secret, DECOYS)
    }

    /// The secret of decoys sealed by the first master key; None when it is already.
    ///
    /// # Errors
    /// [`Error::Internal`] when it does not open.
    pub(super) fn resealed_decoys(&self, sealed: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.reseal(sealed, DECOYS)
    }

    /// Opens a stored pepper.
    pub(super) fn open_pepper(&self, stored: &StoredKey) -> Result<Pepper, Error> {
        if stored.algorithm != ARGON2 {
            return Err(unknown_algorithm(stored));
        }
        let (private, _) = self.open(stored)?;
        Pepper::parse(KeyMaterial { kid: stored.key.kid.clone(), private })
    }

    /// The same secret, sealed for another place.
    ///
    /// # Errors
    /// [`Error::Internal`] when it does not open.
    pub(super) fn reseal_as(&self, stored: &StoredKey, key: Key) -> Result<StoredKey, Error> {
        let (private, _) = self.open(stored)?;
        let sealed_key = self.0.seal(&private, &context(&key, &stored.algorithm))?;
        Ok(StoredKey { key, sealed_key, ..stored.clone() })
    }

    /// True if the master key is that of these keys: it opens one of them, or there are none.
    pub(super) fn master_key_matches(&self, stored: &StoredKeys) -> bool {
        stored.keys.is_empty() || stored.keys.iter().any(|stored| self.open(stored).is_ok())
    }

    /// A new key, as it is stored: `place` without its name.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub(super) async fn make(&self, place: Key, made_by: KeyPolicy, now: OffsetDateTime) -> Result<StoredKey, Error> {
        let (material, algorithm) = match place.purpose {
            Purpose::AccessToken => {
                let algorithm = made_by.algorithm;
                (generate(algorithm, made_by.rsa_bits).await?, algorithm.as_str())
            }
            Purpose::RefreshToken => {
                let private = Zeroizing::new(random::bytes::<KEY_BYTES>()?.to_vec());
                (KeyMaterial { kid: place.number.to_string(), private }, HMAC_SHA256)
            }
            Purpose::Pepper => (Pepper::generate()?, ARGON2),
        };
        let key = Key { kid: material.kid, ..place };
        let sealed_key = self.0.seal(&material.private, &context(&key, algorithm))?;
        Ok(StoredKey { key, algorithm: algorithm.to_owned(), sealed_key, created_at: now })
    }
}

/// Generates a key on a thread of its own: an RSA key takes up to seconds.
async fn generate(algorithm: Algorithm, rsa_bits: u16) -> Result<KeyMaterial, Error> {
    let (made, making) = oneshot::channel();
    let work = move || drop(made.send(KeyMaterial::generate(algorithm, rsa_bits)));
    std::thread::Builder::new().name("key-generation".to_owned()).spawn(work).map_err(Error::internal)?;
    making.await.map_err(Error::internal)?
}

fn unknown_algorithm(stored: &StoredKey) -> Error {
    Error::internal(format!("key {}: unknown algorithm {:?}", stored.key.kid, stored.algorithm))
}

/// The context that a sealed key is bound to.
fn context(key: &Key, algorithm: &str) -> String {
    format!("key {} {} {algorithm} {}", key.purpose.as_str(), key.number, key.kid)
}
