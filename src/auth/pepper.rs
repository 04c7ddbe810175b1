//! Peppers of password hashes: opened, rotated, exported, put back when they were lost. A new one takes over at once: who
//! reads a hash by it reads from the database that has it, and waits for a beat of the follower before anything is said of
//! the password (`auth/login.rs`).

use std::sync::Arc;

use super::{
    Auth,
    key_rotation::MAX_STEPS,
    keys::{Keys, unknown_algorithm},
};
use crate::{
    crypto::{
        pepper::{Pepper, PepperKey, Peppers},
        signing_key::KeyMaterial,
    },
    domain::{
        audit::{Event, Kind},
        key::{Key, Purpose, Stage},
        revocation::Reason,
    },
    error::Error,
    store::keys::{self, StoredKey},
};

/// The algorithm name under which peppers are stored.
pub(super) const ARGON2: &str = "argon2";

/// What an export of the peppers has found.
#[derive(Debug)]
pub struct ExportedPeppers {
    /// Those that opened.
    pub peppers: Vec<Pepper>,
    /// The names of those that none of the master keys opens.
    pub closed: Vec<String>,
}

impl Keys {
    /// Adds a stored pepper to those of the hashing threads.
    pub(super) fn add_pepper(&self, peppers: &mut Peppers, stored: &StoredKey) -> Result<(), Error> {
        let kid = &stored.key.kid;
        if stored.key.stage == Stage::Active {
            peppers.hash_with(kid.clone());
        }
        peppers.insert(kid.clone(), PepperKey::Unusable);
        peppers.insert(kid.clone(), PepperKey::Key(Arc::new(self.open_pepper(stored)?)));
        Ok(())
    }

    /// Opens a stored pepper.
    pub(super) fn open_pepper(&self, stored: &StoredKey) -> Result<Pepper, Error> {
        if stored.algorithm != ARGON2 {
            return Err(unknown_algorithm(stored));
        }
        let (private, _) = self.open(stored)?;
        Pepper::parse(KeyMaterial { kid: stored.key.kid.clone(), private })
    }
}

impl Auth {
    /// Makes a pepper that new hashes are made with from now on, and gives its name. Nobody has to know it before: see above.
    pub(super) async fn rotate_pepper(&self) -> Result<String, Error> {
        let stored = self.prove_keys().await?;
        let active = stored.of(Purpose::Pepper).find(|s| s.key.stage == Stage::Active);
        let none =
            || Error::invalid("rotate", "there is no pepper: a server with COUNTERSIGN_PASSWORD_PEPPER=on makes one");
        let active = active.ok_or_else(none)?;
        let fresh = self.make_key(Purpose::Pepper, &stored, Stage::Active).await?;
        let mut tx = self.begin_change().await?;
        if !keys::advance(&mut tx, &active.key, Stage::Retired).await? || !keys::insert(&mut tx, &fresh).await? {
            return Err(Error::Conflict);
        }
        let event = self.key_event(Kind::KeyCreated, &fresh.key);
        self.commit_keys(tx, Reason::KeysRotated, vec![event]).await?;
        Ok(fresh.key.kid)
    }

    /// Puts back what the database has lost in a failover: a replica that had not noticed may have written a hash by it
    /// since.
    pub(super) async fn put_peppers_back(&self) -> Result<(), Error> {
        for _ in 0..MAX_STEPS {
            let stored = self.stored_keys().await?;
            let Some(lost) = self.keys.lost_pepper(&stored) else {
                break;
            };
            let number = self.next_number(Purpose::Pepper, &stored)?;
            let place = Key { number, stage: Stage::Retired, ..lost.key.clone() };
            let found = self.keys.moved(&lost, place)?;
            let mut tx = self.begin_change().await?;
            if keys::insert(&mut tx, &found).await? {
                let event = self.key_event(Kind::KeyCreated, &found.key);
                self.commit_keys(tx, Reason::KeysRotated, vec![event]).await?;
                tracing::error!(kid = found.key.kid, "the database has lost a pepper: it was put back");
            }
        }
        Ok(())
    }

    /// All peppers, for whoever takes password hashes along.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn export_peppers(&self) -> Result<ExportedPeppers, Error> {
        self.accounts.audit.note(Event::new(Kind::PeppersExported, self.accounts.operator)).await?;
        let mut exported = ExportedPeppers { peppers: Vec::new(), closed: Vec::new() };
        for stored in self.prove_keys().await?.of(Purpose::Pepper) {
            match self.keys.open_pepper(stored) {
                Ok(pepper) => exported.peppers.push(pepper),
                Err(_) => exported.closed.push(stored.key.kid.clone()),
            }
        }
        Ok(exported)
    }
}
