//! Sealing all keys with the first master key, so that the others can go.

use super::{Keys, vault::DECOYS};
use crate::{
    domain::audit::Kind,
    error::Error,
    revocation::changes::Changes,
    store::{Conn, decoy_secret, keys},
};

/// The result of a reseal.
#[derive(Debug)]
pub struct Resealed {
    /// Number of keys that are sealed by the first master key now and were not before.
    pub count: usize,
    /// The names of keys that none of the master keys opens.
    pub closed: Vec<String>,
}

impl Keys {
    /// Seals every key with the first master key, and the secret of decoys.
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
                    let detail = format!("{} {}", stored.key.purpose.as_str(), stored.key.kid);
                    resealed.count += self.commit_resealed(tx, changed, detail).await?;
                }
                Err(_) => resealed.closed.push(stored.key.kid),
            }
        }
        // Last: a server that lacks the first master key does not start any more, and cannot take it for lost.
        self.reseal_decoys(&mut resealed).await?;
        Ok(resealed)
    }

    async fn reseal_decoys(&self, resealed: &mut Resealed) -> Result<(), Error> {
        let mut tx = self.base.store.acquire().await?;
        let Some(found) = decoy_secret::find(&mut tx).await? else {
            return Ok(());
        };
        match self.vault.resealed_decoys(&found) {
            Ok(None) => {}
            Ok(Some(sealed)) => {
                tx.begin().await?;
                let changed = decoy_secret::put(&mut tx, &sealed, Some(&found)).await?;
                resealed.count += self.commit_resealed(tx, changed, DECOYS.to_owned()).await?;
            }
            Err(_) => resealed.closed.push(DECOYS.to_owned()),
        }
        Ok(())
    }

    /// Commits a reseal, and gives how many keys it `changed`.
    async fn commit_resealed(&self, tx: Conn, changed: bool, detail: String) -> Result<usize, Error> {
        let events = changed.then(|| self.event_of(Kind::KeyResealed, detail)).into_iter().collect();
        self.base.log.commit(tx, Changes::only(events)).await?;
        Ok(usize::from(changed))
    }
}
