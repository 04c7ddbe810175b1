//! The keys that this replica holds: what is stored is opened and becomes the key ring. A stored key that cannot be used is said
//! in the log, and its tokens are undecided: they are neither accepted nor called forged.

mod change;
mod decoys;
mod inspect;
mod kill;
mod known;
mod peppers;
mod reseal;
mod rotation;
mod service_clock;
mod vault;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use countersign_token::key_set::{KeySet, KeyState};

pub use self::inspect::{Inspected, inspect};
use self::{
    known::{Known, is_over, is_same, unite},
    service_clock::ServiceClock,
    vault::Vault,
};
use super::{base::Base, verified::Verifier};
use crate::{
    crypto::{
        keyring::Keyring,
        password::PasswordHasher,
        pepper::{PepperKey, Peppers},
        refresh_token::RefreshTokenKey,
        seal::MasterKeys,
    },
    domain::{
        key::{Key, Purpose, Stage},
        policy::KeyPolicy,
    },
    error::Error,
    store::{
        Store,
        keys::{self, StoredKey, StoredKeys},
    },
};

/// The keys of this replica.
#[derive(Debug)]
pub struct Keys {
    vault: Vault,
    ring: ArcSwap<Keyring>,
    /// Is given the keys that verify access tokens.
    verifier: Arc<Verifier>,
    known: Mutex<Vec<Known>>,
    service_clock: ServiceClock,
    /// Is given the peppers.
    hasher: Arc<PasswordHasher>,
    policy: KeyPolicy,
    base: Base,
}

/// A key that cannot be used, and why.
type Unusable = (Key, Error);

/// The known keys, opened for use.
#[derive(Default)]
struct Opened {
    ring: Keyring,
    verifying: KeySet,
    peppers: Peppers,
    unusable: Vec<Unusable>,
}

impl Keys {
    /// A set without keys yet, and the master keys that open them.
    pub fn new(
        master: MasterKeys,
        policy: KeyPolicy,
        verifier: Arc<Verifier>,
        hasher: Arc<PasswordHasher>,
        base: Base,
    ) -> Self {
        let (ring, known, service_clock) = (ArcSwap::default(), Mutex::default(), ServiceClock::default());
        Self { vault: Vault::new(master), ring, verifier, known, service_clock, hasher, policy, base }
    }

    /// The keys as they are now. Waits for nobody.
    pub fn ring(&self) -> Guard<Arc<Keyring>> {
        self.ring.load()
    }

    /// Takes over what the database holds, and gives back what of it cannot be used.
    ///
    /// Keys that it does not hold any more stay for a while, because it may have been restored from an old backup. A key that
    /// was killed stays dead, whatever the database says.
    pub fn install(&self, stored: Vec<StoredKey>) -> Vec<Unusable> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = unite(&known, stored, self.base.clock.boot());
        let Opened { ring, verifying, mut peppers, unusable } = self.open_all(&known);
        // Before anything is signed by a new key.
        self.verifier.use_keys(verifying);
        self.ring.store(Arc::new(ring));
        if !self.policy.pepper.is_on() {
            peppers.clear_active();
        }
        self.hasher.use_peppers(peppers);
        self.base.metrics.gauges.set_keys(known.iter().map(|k| &k.stored.key), unusable.len());
        for (key, error) in &unusable {
            let (purpose, kid) = (key.purpose.as_str(), &key.kid);
            tracing::error!(purpose, kid, stage = key.stage.as_str(), %error, "a stored key cannot be used");
        }
        unusable
    }

    /// Says which keys the next start could not use. Those that were opened before they were damaged go on to be used here.
    fn watch_damage(&self, stored: &[StoredKey]) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = known.iter().map(|k| &k.stored).filter(|k| !stored.iter().any(|s| is_same(&s.key, &k.key)));
        let alive = stored.iter().chain(gone).filter(|s| s.key.stage != Stage::Killed);
        let unusable: Vec<_> = alive.filter_map(|s| Some((&s.key, self.vault.try_open(s).err()?))).collect();
        if self.base.metrics.gauges.set_unusable(unusable.len()) < unusable.len() {
            for (key, error) in unusable {
                let (purpose, kid) = (key.purpose.as_str(), &key.kid);
                tracing::error!(purpose, kid, stage = key.stage.as_str(), %error, "a stored key cannot be opened any more");
            }
        }
    }

    /// Forgets keys that the database does not have and whose tokens are over.
    fn forget(&self) {
        let boot = self.base.clock.boot();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.len();
        known.retain(|key| !is_over(key, boot));
        if known.len() < before {
            let Opened { ring, verifying, unusable, .. } = self.open_all(&known);
            self.verifier.use_keys(verifying);
            self.ring.store(Arc::new(ring));
            self.base.metrics.gauges.set_keys(known.iter().map(|k| &k.stored.key), unusable.len());
        }
    }

    /// The greatest number that any key of `purpose` has had, as far as this replica knows.
    fn newest(&self, purpose: Purpose) -> u16 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = known.iter().map(|k| &k.stored.key).filter(|key| key.purpose == purpose).map(|key| key.number);
        numbers.max().unwrap_or(0)
    }

    /// The keys that are dead here although the database calls them something else: a kill that it lost.
    fn unkilled_in_database(&self, stored: &[StoredKey]) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = |key: &Key| known.iter().any(|k| is_same(&k.stored.key, key) && k.stored.key.stage == Stage::Killed);
        let lives = |key: &&Key| key.stage != Stage::Killed;
        stored.iter().map(|s| &s.key).filter(lives).filter(|key| dead(key)).map(|key| key.kid.clone()).collect()
    }

    /// A pepper that this replica can use and the database does not have.
    fn lost_pepper(&self, stored: &StoredKeys) -> Option<StoredKey> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let peppers = known.iter().map(|k| &k.stored).filter(|s| s.key.purpose == Purpose::Pepper);
        let mut lost = peppers.filter(|s| !stored.keys.iter().any(|other| is_same(&s.key, &other.key)));
        lost.find(|s| self.vault.open_pepper(s).is_ok()).cloned()
    }

    fn open_all(&self, known: &[Known]) -> Opened {
        let mut opened = Opened::default();
        for Known { stored, .. } in known {
            let added = match stored.key.purpose {
                Purpose::AccessToken => self.add_access(&mut opened, stored),
                Purpose::RefreshToken => self.add_refresh(&mut opened.ring, stored),
                Purpose::Pepper => self.add_pepper(&mut opened.peppers, stored),
            };
            if let Err(error) = added {
                opened.unusable.push((stored.key.clone(), error));
            }
        }
        opened
    }

    fn add_access(&self, opened: &mut Opened, stored: &StoredKey) -> Result<(), Error> {
        let (kid, stage) = (stored.key.kid.clone(), stored.key.stage);
        if stage == Stage::Killed {
            opened.verifying.insert(kid, KeyState::Killed);
            return Ok(());
        }
        opened.verifying.insert(kid.clone(), KeyState::Unusable);
        let key = self.vault.open_access(stored)?;
        opened.verifying.insert(kid, KeyState::Key(key.verifying_key()?));
        opened.ring.publish(&key)?;
        if stage == Stage::Active {
            opened.ring.sign_with(key);
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
        ring.add_refresh(number, self.vault.open_refresh(stored)?);
        if stage == Stage::Active {
            ring.refresh_with(number);
        }
        Ok(())
    }

    /// Adds a stored pepper to those of the hashing threads.
    fn add_pepper(&self, peppers: &mut Peppers, stored: &StoredKey) -> Result<(), Error> {
        let kid = &stored.key.kid;
        if stored.key.stage == Stage::Active {
            peppers.set_active(kid.clone());
        }
        peppers.insert(kid.clone(), PepperKey::Unusable);
        peppers.insert(kid.clone(), PepperKey::Key(Arc::new(self.vault.open_pepper(stored)?)));
        Ok(())
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
