//! The keys that this replica holds: what is stored is opened here and becomes the key ring. A stored key that cannot be
//! used is said in the log, and its tokens are undecided: they are neither accepted nor called forged.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{
    Accounts,
    known_keys::{Known, is_over, is_same, unite},
    pepper::ARGON2,
};
use crate::{
    clock::Boot,
    config::Policy,
    crypto::{
        access_token::Verifier,
        keyring::Keyring,
        pepper::{Pepper, Peppers},
        random,
        refresh_token::{KEY_BYTES, RefreshTokenKey},
        seal::{MasterKeys, SealedBy},
        signing_key::{KeyMaterial, SigningKey},
    },
    domain::key::{Algorithm, Key, Purpose, Stage},
    error::Error,
    store::{
        Store,
        keys::{self, StoredKey, StoredKeys},
    },
};

/// The algorithm name under which keys of refresh tokens are stored.
const HMAC_SHA256: &str = "HMAC-SHA256";

/// The keys of this replica.
#[derive(Debug)]
pub struct Keys {
    master: MasterKeys,
    ring: ArcSwap<Keyring>,
    known: Mutex<Vec<Known>>,
    /// What was last seen of the service's clock.
    pub(super) witness: tokio::sync::Mutex<Option<Witness>>,
}

/// The service's clock stood at `seen_ms` at the moment `seen_at`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness {
    pub(super) seen_ms: i64,
    pub(super) seen_at: Boot,
}

/// A key that cannot be used, and why.
type Unusable = (Key, Error);

/// What the known keys are in use.
#[derive(Default)]
struct Opened {
    ring: Keyring,
    peppers: Peppers,
    unusable: Vec<Unusable>,
}

impl Keys {
    /// No keys yet.
    pub fn new(master: MasterKeys) -> Self {
        Self { master, ring: ArcSwap::default(), known: Mutex::default(), witness: tokio::sync::Mutex::default() }
    }

    /// The keys as they are now. Waits for nobody.
    pub fn ring(&self) -> Guard<Arc<Keyring>> {
        self.ring.load()
    }

    /// Takes over what the database holds, and gives back what of it cannot be used.
    ///
    /// What it does not hold any more stays for a while, because it may have been restored from an old backup; and what
    /// was killed stays dead, whatever it says.
    pub fn install(&self, stored: Vec<StoredKey>, accounts: &Accounts) -> Vec<Unusable> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = unite(&known, stored, accounts.clock.boot());
        let Opened { ring, mut peppers, unusable } = self.open_all(&known, accounts.policy.verify_cache);
        self.ring.store(Arc::new(ring));
        if !accounts.policy.pepper.is_on() {
            peppers.hash_without();
        }
        accounts.hasher.use_peppers(peppers);
        for (key, error) in &unusable {
            let (purpose, kid) = (key.purpose.as_str(), &key.kid);
            tracing::error!(purpose, kid, stage = key.stage.as_str(), %error, "a stored key cannot be used");
        }
        unusable
    }

    /// Forgets keys that the database does not have and whose tokens are over.
    pub(super) fn forget(&self, accounts: &Accounts) {
        let boot = accounts.clock.boot();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.retain(|key| !is_over(key, boot));
        if known.len() < before {
            self.ring.store(Arc::new(self.open_all(&known, accounts.policy.verify_cache).ring));
        }
    }

    /// The greatest number that any key of `purpose` has had, as far as this replica knows.
    pub(super) fn newest(&self, purpose: Purpose) -> u16 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = known.iter().map(|k| &k.stored.key).filter(|key| key.purpose == purpose).map(|key| key.number);
        numbers.max().unwrap_or(0)
    }

    /// The keys that are dead here although the database calls them something else: a kill that it lost.
    pub(super) fn revived(&self, stored: &[StoredKey]) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = |key: &Key| known.iter().any(|k| is_same(&k.stored.key, key) && k.stored.key.stage == Stage::Killed);
        let lives = |key: &&Key| key.stage != Stage::Killed;
        stored.iter().map(|s| &s.key).filter(lives).filter(|key| dead(key)).map(|key| key.kid.clone()).collect()
    }

    fn open_all(&self, known: &[Known], verify_cache: usize) -> Opened {
        let mut opened = Opened { ring: Keyring::remembering(verify_cache), ..Opened::default() };
        for Known { stored, .. } in known {
            let added = match stored.key.purpose {
                Purpose::AccessToken => self.add_access(&mut opened.ring, stored),
                Purpose::RefreshToken => self.add_refresh(&mut opened.ring, stored),
                Purpose::Pepper => self.add_pepper(&mut opened.peppers, stored),
            };
            if let Err(error) = added {
                opened.unusable.push((stored.key.clone(), error));
            }
        }
        opened
    }

    fn add_access(&self, ring: &mut Keyring, stored: &StoredKey) -> Result<(), Error> {
        let (kid, stage) = (stored.key.kid.clone(), stored.key.stage);
        if stage == Stage::Killed {
            ring.refuse(kid, Verifier::Killed);
            return Ok(());
        }
        ring.refuse(kid, Verifier::Unusable);
        let key = self.open_access(stored)?;
        ring.add(&key)?;
        if stage == Stage::Active {
            ring.sign_with(key);
        }
        Ok(())
    }

    fn add_refresh(&self, ring: &mut Keyring, stored: &StoredKey) -> Result<(), Error> {
        let (number, stage) = (stored.key.number, stored.key.stage);
        if stage == Stage::Killed {
            ring.add_refresh(number, RefreshTokenKey::Killed);
            return Ok(());
        }
        ring.add_refresh(number, RefreshTokenKey::Unusable);
        ring.add_refresh(number, self.open_refresh(stored)?);
        if stage == Stage::Active {
            ring.refresh_with(number);
        }
        Ok(())
    }

    fn open_access(&self, stored: &StoredKey) -> Result<SigningKey, Error> {
        let algorithm: Algorithm = stored.algorithm.parse().map_err(|_| unknown_algorithm(stored))?;
        let (private, _) = self.open(stored)?;
        SigningKey::parse(algorithm, &KeyMaterial { kid: stored.key.kid.clone(), private })
    }

    fn open_refresh(&self, stored: &StoredKey) -> Result<RefreshTokenKey, Error> {
        if stored.algorithm != HMAC_SHA256 {
            return Err(unknown_algorithm(stored));
        }
        RefreshTokenKey::parse(&self.open(stored)?.0)
    }

    /// Whether a stored key can be used here.
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

    pub(super) fn open(&self, stored: &StoredKey) -> Result<(Zeroizing<Vec<u8>>, SealedBy), Error> {
        self.master.open(&stored.sealed_key, &context(&stored.key, &stored.algorithm))
    }

    /// The key sealed by the first master key; None when it is already.
    ///
    /// # Errors
    /// [`Error::Internal`] when it does not open.
    pub(super) fn resealed(&self, stored: &StoredKey) -> Result<Option<Vec<u8>>, Error> {
        match self.open(stored)? {
            (_, SealedBy::First) => Ok(None),
            (private, SealedBy::Older) => {
                self.master.seal(&private, &context(&stored.key, &stored.algorithm)).map(Some)
            }
        }
    }

    /// A pepper that this replica can use and the database does not have.
    pub(super) fn lost_pepper(&self, stored: &StoredKeys) -> Option<StoredKey> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let peppers = known.iter().map(|k| &k.stored).filter(|s| s.key.purpose == Purpose::Pepper);
        let mut lost = peppers.filter(|s| !stored.keys.iter().any(|other| is_same(&s.key, &other.key)));
        lost.find(|s| self.open_pepper(s).is_ok()).cloned()
    }

    /// The same secret, sealed for another place.
    ///
    /// # Errors
    /// [`Error::Internal`] when it does not open.
    pub(super) fn moved(&self, stored: &StoredKey, key: Key) -> Result<StoredKey, Error> {
        let (private, _) = self.open(stored)?;
        let sealed_key = self.master.seal(&private, &context(&key, &stored.algorithm))?;
        Ok(StoredKey { key, sealed_key, ..stored.clone() })
    }

    /// Whether the master key is that of these keys: it opens one of them, or there are none.
    pub(super) fn fits(&self, stored: &StoredKeys) -> bool {
        stored.keys.is_empty() || stored.keys.iter().any(|stored| self.open(stored).is_ok())
    }

    /// A key that nobody has, only to say that it is dead.
    pub(super) fn tombstone(kid: &str, number: u16, now: OffsetDateTime) -> StoredKey {
        let (purpose, stage) = (Purpose::AccessToken, Stage::Killed);
        let key = Key { purpose, number, kid: kid.to_owned(), stage, age: std::time::Duration::ZERO };
        StoredKey { key, algorithm: "unknown".to_owned(), sealed_key: Vec::new(), created_at: now }
    }

    /// A new key, as it is stored: `place` without its name.
    ///
    /// # Errors
    /// [`Error::Internal`] without randomness.
    pub(super) async fn make(&self, place: Key, policy: &Policy, now: OffsetDateTime) -> Result<StoredKey, Error> {
        let (material, algorithm) = match place.purpose {
            Purpose::AccessToken => {
                let algorithm = policy.signing_algorithm;
                (generate(algorithm, policy.rsa_bits).await?, algorithm.as_str())
            }
            Purpose::RefreshToken => {
                let private = Zeroizing::new(random::bytes::<KEY_BYTES>()?.to_vec());
                (KeyMaterial { kid: place.number.to_string(), private }, HMAC_SHA256)
            }
            Purpose::Pepper => (Pepper::generate()?, ARGON2),
        };
        let key = Key { kid: material.kid, ..place };
        let sealed_key = self.master.seal(&material.private, &context(&key, algorithm))?;
        Ok(StoredKey { key, algorithm: algorithm.to_owned(), sealed_key, created_at: now })
    }
}

/// All keys as they are stored, by purpose and number.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn stored(store: &Store) -> Result<StoredKeys, Error> {
    let mut conn = store.acquire().await?;
    keys::all(&mut conn).await
}

/// On a thread of its own: an RSA key takes up to seconds.
async fn generate(algorithm: Algorithm, rsa_bits: u16) -> Result<KeyMaterial, Error> {
    let (made, making) = oneshot::channel();
    let work = move || drop(made.send(KeyMaterial::generate(algorithm, rsa_bits)));
    std::thread::Builder::new().name("key-generation".to_owned()).spawn(work).map_err(Error::internal)?;
    making.await.map_err(Error::internal)?
}

pub(super) fn unknown_algorithm(stored: &StoredKey) -> Error {
    Error::internal(format!("key {}: unknown algorithm {:?}", stored.key.kid, stored.algorithm))
}

/// What a sealed key is bound to.
fn context(key: &Key, algorithm: &str) -> String {
    format!("key {} {} {algorithm} {}", key.purpose.as_str(), key.number, key.kid)
}
