//! The end of a key before its time: its tokens are dead on every replica, as a revocation's are (promise P1), and another
//! key signs. For emergencies, so it works on whatever state the keys are in.

use std::time::Duration;

use time::OffsetDateTime;

use super::Keys;
use crate::{
    domain::{
        audit::Kind,
        key::{Key, Purpose, Stage},
        revocation::Reason,
    },
    error::Error,
    revocation::changes::Committed,
    store::{
        keys::{self, StoredKey, StoredKeys},
        retrying,
    },
};

impl Keys {
    /// Kills a key: its tokens are dead, here and by the bound on every replica (promise P1). If it signed, the next one
    /// signs from now on, or a fresh one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a name that no living key has, and for a pepper; [`Error::Conflict`] when the keys
    /// changed meanwhile; [`Error::DatabaseUnavailable`].
    pub async fn kill(&self, kid: &str) -> Result<Committed, Error> {
        retrying(async || self.try_to_kill(kid).await).await
    }

    async fn try_to_kill(&self, kid: &str) -> Result<Committed, Error> {
        let stored = self.prove().await?;
        let Some(killed) = stored.keys.iter().find(|s| s.key.kid == kid) else {
            return self.insert_tombstone(kid, &stored).await;
        };
        if killed.key.stage == Stage::Killed {
            return Err(no_living_key());
        }
        let purpose = killed.key.purpose;
        if purpose == Purpose::Pepper {
            return Err(Error::invalid(
                "kid",
                "no password that was hashed with this pepper could be checked any more; `countersign keys rotate --purpose \
                 pepper` puts another into its place",
            ));
        }
        let successor = stored.of(purpose).find(|s| s.key.stage == Stage::Next && self.vault.try_open(s).is_ok());
        let fresh = match (killed.key.stage, successor) {
            (Stage::Active, None) => Some(self.make(purpose, &stored, Stage::Active).await?),
            _ => None,
        };
        let mut tx = self.begin().await?;
        let mut done = keys::advance(&mut tx, &killed.key, Stage::Killed).await?;
        if let Some(fresh) = &fresh {
            done &= keys::insert(&mut tx, fresh).await?;
        } else if let (Stage::Active, Some(successor)) = (killed.key.stage, successor) {
            done &= keys::advance(&mut tx, &successor.key, Stage::Active).await?;
        }
        if !done {
            return Err(Error::Conflict);
        }
        let mut events = vec![self.event(Kind::KeyKilled, &killed.key)];
        events.extend(fresh.as_ref().map(|fresh| self.event(Kind::KeyCreated, &fresh.key)));
        let activated = successor.filter(|_| killed.key.stage == Stage::Active);
        events.extend(activated.map(|activated| self.event(Kind::KeyActivated, &activated.key)));
        self.commit(tx, Reason::KeyKilled, events).await
    }

    /// Kills a key that the database does not have, but a replica may.
    async fn insert_tombstone(&self, kid: &str, stored: &StoredKeys) -> Result<Committed, Error> {
        if !is_thumbprint(kid) {
            return Err(no_living_key());
        }
        let number = self.next_number(Purpose::AccessToken, stored)?;
        let tombstone = tombstone(kid, number, self.base.clock.now());
        let mut tx = self.begin().await?;
        if !keys::insert(&mut tx, &tombstone).await? {
            return Err(Error::Conflict);
        }
        let event = self.event(Kind::KeyKilled, &tombstone.key);
        self.commit(tx, Reason::KeyKilled, vec![event]).await
    }
}

/// A key that nobody has, only to say that it is dead.
fn tombstone(kid: &str, number: u16, now: OffsetDateTime) -> StoredKey {
    let (purpose, stage) = (Purpose::AccessToken, Stage::Killed);
    let key = Key { purpose, number, kid: kid.to_owned(), stage, age: Duration::ZERO };
    StoredKey { key, algorithm: "unknown".to_owned(), sealed_key: Vec::new(), created_at: now }
}

fn no_living_key() -> Error {
    Error::invalid("kid", "no living key has this name: see `countersign keys list`")
}

/// True if this may be the name of a key of access tokens: 32 bytes in base64url.
fn is_thumbprint(kid: &str) -> bool {
    kid.len() == 43 && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
