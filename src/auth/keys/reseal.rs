//! Sealing all keys with the first master key, so that the others can go.

use super::Keys;
use crate::{domain::audit::Kind, error::Error, revocation::log::Changes, store::keys};

/// The result of a reseal.
#[derive(Debug)]
pub struct Resealed {
    /// Number of keys that are sealed by the first master key now and were not before.
    pub count: usize,
    /// The names of keys that none of the master keys opens.
    pub closed: Vec<String>,
}

impl Keys {
    /// Seals every key with the first master key.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn reseal(&self) -> Result<Resealed, Error> {
        let mut resealed = Resealed { count: 0, closed: Vec::new() };
        for stored in self.prove().await?.keys {
            match self.vault.resealed(&stored) {
                Ok(None) => {}
                Ok(Some(sealed_key)) => {
                    let mut tx = self.base.store.acquire().await?;
                    tx.begin().await?;
                    let changed = keys::reseal(&mut tx, &stored, &sealed_key).await?;
                    let event = changed.then(|| self.event(Kind::KeyResealed, &stored.key));
                    let events = event.into_iter().collect();
                    self.base.log.commit(tx, Changes::only(events)).await?;
                    resealed.count += usize::from(changed);
                }
                Err(_) => resealed.closed.push(stored.key.kid),
            }
        }
        Ok(resealed)
    }
}
