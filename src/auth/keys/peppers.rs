//! Peppers of password hashes: rotated, exported, put back when they were lost. A new one takes over at once. A replica
//! that reads a hash made by it reads from the database that has it. It waits for a heartbeat of the follower before it
//! says anything of the password (`auth/passwords/check.rs`).

use super::{Keys, change::MAX_STEPS};
use crate::{
    crypto::pepper::Pepper,
    domain::{
        audit::{Event, Kind},
        key::{Key, Purpose, Stage},
        revocation::Reason,
    },
    error::Error,
    store::keys,
};

/// The result of an export of the peppers.
#[derive(Debug)]
pub struct ExportedPeppers {
    /// The peppers that the master keys open.
    pub peppers: Vec<Pepper>,
    /// The names of those that none of the master keys opens.
    pub closed: Vec<String>,
}

impl Keys {
    /// Makes a pepper that new hashes are made with from now on, and gives its name. Nobody has to know it before: see above.
    pub(super) async fn rotate_pepper(&self) -> Result<String, Error> {
        let stored = self.prove().await?;
        let active = stored.of(Purpose::Pepper).find(|s| s.key.stage == Stage::Active);
        let none =
            || Error::invalid("rotate", "there is no pepper: a server with COUNTERSIGN_PASSWORD_PEPPER=on makes one");
        let active = active.ok_or_else(none)?;
        let fresh = self.make(Purpose::Pepper, &stored, Stage::Active).await?;
        let mut tx = self.begin().await?;
        if !keys::advance(&mut tx, &active.key, Stage::Retired).await? || !keys::insert(&mut tx, &fresh).await? {
            return Err(Error::Conflict);
        }
        let event = self.event(Kind::KeyCreated, &fresh.key);
        self.commit(tx, Reason::KeysRotated, vec![event]).await?;
        Ok(fresh.key.kid)
    }

    /// Puts back what the database has lost in a failover: a replica that had not noticed may have written a hash by it
    /// since.
    pub(super) async fn put_peppers_back(&self) -> Result<(), Error> {
        for _ in 0..MAX_STEPS {
            let stored = self.stored().await?;
            let Some(lost) = self.lost_pepper(&stored) else {
                break;
            };
            let number = self.next_number(Purpose::Pepper, &stored)?;
            let place = Key { number, stage: Stage::Retired, ..lost.key.clone() };
            let found = self.vault.reseal_as(&lost, place)?;
            let mut tx = self.begin().await?;
            if keys::insert(&mut tx, &found).await? {
                let event = self.event(Kind::KeyCreated, &found.key);
                self.commit(tx, Reason::KeysRotated, vec![event]).await?;
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
        self.base.audit.note(Event::new(Kind::PeppersExported, self.base.operator)).await?;
        let mut exported = ExportedPeppers { peppers: Vec::new(), closed: Vec::new() };
        for stored in self.prove().await?.of(Purpose::Pepper) {
            match self.vault.open_pepper(stored) {
                Ok(pepper) => exported.peppers.push(pepper),
                Err(_) => exported.closed.push(stored.key.kid.clone()),
            }
        }
        Ok(exported)
    }
}
