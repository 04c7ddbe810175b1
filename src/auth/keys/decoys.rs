//! The secret by which unknown names are given decoys (`auth/passwords/decoys.rs`). All replicas have the same, and it
//! outlives every key. Whoever sees the decoy of a name change learns that nobody has that name (promise P6).

use super::Keys;
use crate::{
    crypto::random,
    error::Error,
    store::{decoy_secret, retrying},
};

impl Keys {
    /// The secret of decoys. Whichever replica is first makes it, and one that knows it puts it back when it was lost.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`], [`Error::Internal`].
    pub async fn decoy_secret(&self, known: Option<[u8; 32]>) -> Result<[u8; 32], Error> {
        retrying(async || self.try_decoy_secret(known).await).await
    }

    async fn try_decoy_secret(&self, known: Option<[u8; 32]>) -> Result<[u8; 32], Error> {
        let mut conn = self.base.store.acquire().await?;
        let found = decoy_secret::find(&mut conn).await?;
        match (found.as_ref().map(|sealed| self.vault.open_decoys(sealed)), known) {
            (Some(Ok(secret)), _) | (Some(Err(_)), Some(secret)) => return Ok(secret),
            // The keys of a server that has started do open: nothing is to be won from this any more.
            (Some(Err(error)), None) => {
                tracing::error!(%error, "unknown names get other decoys than before");
            }
            (None, _) => {}
        }
        let secret = known.map_or_else(random::bytes, Ok)?;
        let sealed = self.vault.seal_decoys(&secret)?;
        let stored = decoy_secret::put(&mut conn, &sealed, found.as_deref()).await?;
        // Another replica was first: its secret counts.
        if stored { Ok(secret) } else { Err(Error::Conflict) }
    }
}
