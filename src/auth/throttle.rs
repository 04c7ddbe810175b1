//! Who may try a password now (REQUIREMENTS R55, R57). Every attempt is charged before the password is looked at, to two
//! budgets: that of the name, whether there is such a user or not, and that of the address it comes from. A device that
//! has logged in as that user before, and shows the hint it was given then, is charged to a budget of its own alone: so
//! whoever hammers a name locks out strangers, and never its owner.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{Accounts, to_completion};
use crate::{
    crypto::{device_hint::Device, digest::sha256},
    domain::{ids::UserId, throttle::Budget, user::Username},
    error::Error,
    store::{
        Store,
        login_throttle::{self, Charge},
    },
};

/// How many budgets are deleted at once, and after how long without an attempt.
const PRUNED_AT_ONCE: i64 = 1000;
const PRUNED_AFTER: Duration = Duration::from_secs(25 * 3600);

/// From where a password comes.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The address of the end user's client; empty if the caller does not know.
    pub ip: String,
    /// From a device hint.
    pub device: Option<Device>,
}

/// An attempt that has been charged. Dropped before its password was looked at, because of an error or because the caller
/// has gone, it is taken back: nobody has learned anything.
#[derive(Debug)]
pub(super) struct Attempt {
    charges: Vec<Charge>,
    store: Store,
    /// Attempts on one name wait here for each other, so that right passwords side by side do not look like guesses.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Attempt {
    /// The password was wrong.
    pub(super) fn stands(mut self) {
        self.charges.clear();
    }

    /// The password was right: the first budget is forgotten, the attempt is taken back from the second.
    pub(super) async fn forgive(mut self) -> Result<(), Error> {
        let charges = std::mem::take(&mut self.charges);
        let Some(first) = charges.first().map(|charge| charge.key) else {
            return Ok(());
        };
        let (store, second) = (self.store.clone(), charges.get(1).copied());
        to_completion(
            async move { login_throttle::forgive(&mut store.acquire().await?, &first, second.as_ref()).await },
        )
        .await
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let keys: Vec<[u8; 32]> = self.charges.iter().map(|charge| charge.key).collect();
        let (store, Ok(runtime)) = (self.store.clone(), Handle::try_current()) else {
            return;
        };
        if !keys.is_empty() {
            runtime.spawn(async move { login_throttle::refund(&mut store.acquire().await?, &keys).await });
        }
    }
}

/// Those who try a password for the same budget in this process.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<[u8; 32], Arc<Semaphore>>>);

impl Turns {
    /// One of `count` turns.
    async fn take(&self, key: [u8; 32], count: usize) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // A permit holds on to its semaphore.
            all.retain(|_, turns| Arc::strong_count(turns) > 1);
            Arc::clone(all.entry(key).or_insert_with(|| Arc::new(Semaphore::new(count))))
        };
        turns.acquire_owned().await.ok()
    }
}

impl Accounts {
    /// Charges an attempt for a name, `found` being its user if there is one.
    ///
    /// # Errors
    /// [`Error::LoginThrottled`]: the password is not to be looked at. [`Error::DatabaseUnavailable`].
    pub(super) async fn charge(
        &self,
        name: &Username,
        found: Option<UserId>,
        source: &Source,
    ) -> Result<Attempt, Error> {
        let charges = self.charges(name, found, source);
        let turn = match charges.first() {
            Some(first) => self.turns.take(first.key, usize::try_from(first.budget.free / 2).unwrap_or(1).max(1)).await,
            None => None,
        };
        let (store, now, charged) = (self.store.clone(), self.clock.now(), charges.clone());
        let wait = to_completion(async move {
            if charged.is_empty() {
                return Ok(None);
            }
            login_throttle::charge(&mut store.acquire().await?, &charged, now).await
        });
        match wait.await? {
            None => Ok(Attempt { charges, store: self.store.clone(), _turn: turn }),
            Some(retry_after) => Err(Error::LoginThrottled { retry_after }),
        }
    }

    /// Forgets the attempts on a name, because its password is another now.
    pub(super) async fn unthrottle(&self, name: &Username) -> Result<(), Error> {
        let mut conn = self.store.acquire().await?;
        login_throttle::forgive(&mut conn, &name_key(name), None).await
    }

    /// Deletes budgets that nobody has touched for long.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn clean_throttle(&self) -> Result<(), Error> {
        let mut conn = self.store.acquire().await?;
        let before = self.clock.now() - PRUNED_AFTER;
        while login_throttle::prune(&mut conn, before, PRUNED_AT_ONCE).await? > 0 {}
        Ok(())
    }

    fn charges(&self, name: &Username, found: Option<UserId>, source: &Source) -> Vec<Charge> {
        let limits = self.policy.login_failures;
        let mut charges = Vec::new();
        if limits.per_account == 0 {
            return charges;
        }
        let account = Budget::of_account(limits.per_account);
        if let Some(device) = source.device.filter(|device| Some(device.user_id) == found) {
            let key = sha256(&[b"device", device.user_id.0.as_bytes(), device.id.as_bytes()]);
            return vec![Charge { key, budget: account }];
        }
        charges.push(Charge { key: name_key(name), budget: account });
        if limits.per_source > 0 && !source.ip.is_empty() {
            let key = sha256(&[b"source", &network(&source.ip)]);
            charges.push(Charge { key, budget: Budget::of_source(limits.per_source) });
        }
        charges
    }
}

fn name_key(name: &Username) -> [u8; 32] {
    sha256(&[b"name", name.as_str().as_bytes()])
}

/// What one attacker has: an IPv4 address or an IPv6 network of 64 bits. What is no address is taken as it is.
fn network(ip: &str) -> Vec<u8> {
    match ip.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Ok(IpAddr::V6(ip)) => ip.octets().into_iter().take(8).collect(),
        Err(_) => ip.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r57_an_address_is_the_same_in_each_of_its_forms() {
        assert_eq!(network("192.0.2.7"), network("::ffff:192.0.2.7"));
        assert_eq!(network("2001:db8::1"), network("2001:0db8:0:0:ffff::2"), "one network");
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
        assert_ne!(network("unix"), network(""));
    }
}
