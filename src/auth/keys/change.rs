//! A change of keys: a transaction whose first statement holds only while things are as its author saw them. It appends
//! to the revocation log, so that it reaches every replica within the bound.

use std::time::Duration;

use countersign_token::revocation::{Revocation, Subject};

use super::{Keys, stored};
use crate::{
    domain::{
        audit::{Actor, Event, Kind},
        key::{Key, Purpose, Stage},
        revocation::Reason,
    },
    error::Error,
    revocation::changes::{Changes, Committed},
    store::{
        Conn,
        keys::{self, StoredKey, StoredKeys},
    },
};

/// More changes than can be due at once.
pub(super) const MAX_STEPS: usize = 8;

impl Keys {
    /// Begins a change. The service's clock moves first, so that nobody adds to it what was watched before.
    pub(super) async fn begin(&self) -> Result<Conn, Error> {
        let mut tx = self.base.store.acquire().await?;
        tx.begin().await?;
        keys::touch_clock(&mut tx).await?;
        Ok(tx)
    }

    pub(super) async fn stored(&self) -> Result<StoredKeys, Error> {
        stored(&self.base.store).await
    }

    /// The keys as an operator may be told of them.
    pub(super) async fn prove(&self) -> Result<StoredKeys, Error> {
        keys::prove_all(&mut self.base.store.acquire().await?).await
    }

    pub(super) async fn make(&self, purpose: Purpose, stored: &StoredKeys, stage: Stage) -> Result<StoredKey, Error> {
        // A key that nobody else can open would stop everybody.
        if !self.vault.master_key_matches(stored) {
            return Err(Error::invalid(
                "master-key-file",
                "it opens none of the stored keys: is it that of the servers?",
            ));
        }
        let number = self.next_number(purpose, stored)?;
        let place = Key { purpose, number, kid: String::new(), stage, age: Duration::ZERO };
        self.vault.make(place, self.policy, self.base.clock.now()).await
    }

    /// A number that no key has had, not even one that the database has lost.
    pub(super) fn next_number(&self, purpose: Purpose, stored: &StoredKeys) -> Result<u16, Error> {
        let newest = stored.of(purpose).map(|s| s.key.number).max().unwrap_or(0);
        newest.max(self.newest(purpose)).checked_add(1).ok_or_else(|| Error::internal("key numbers are used up"))
    }

    pub(super) async fn commit(&self, tx: Conn, reason: Reason, events: Vec<Event>) -> Result<Committed, Error> {
        let changed = Revocation::new(Subject::Keys, self.base.clock.now());
        let revocations = vec![(changed, reason)];
        self.base.log.commit(tx, Changes { revocations, events, ..Changes::default() }).await
    }

    pub(super) fn event(&self, kind: Kind, key: &Key) -> Event {
        self.event_of(kind, format!("{} {}", key.purpose.as_str(), key.kid))
    }

    pub(super) fn event_of(&self, kind: Kind, detail: String) -> Event {
        // Servers change keys by themselves, and operators by the command line alone.
        let actor = match self.base.operator {
            Actor::CommandLine => Actor::CommandLine,
            _ => Actor::Server,
        };
        Event::new(kind, actor).detail(detail)
    }
}
