//! Who may try a password now (REQUIREMENTS R55, R57). Every attempt is charged before the password is looked at, to two
//! budgets: that of the name, whether there is such a user or not, and that of the address it comes from. A device that
//! has logged in as that user before, and shows the hint it was given then, is charged to a budget of its own alone: so
//! whoever hammers a name locks out strangers, and never its owner.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use countersign_token::{clock::Clock, moment::unix};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::super::completion::to_completion;
use crate::{
    crypto::{device_hint::Device, digest::sha256},
    domain::{
        address::ClientAddress,
        throttle::{Budget, LoginFailures},
        user::{User, Username},
    },
    error::Error,
    store::{
        Store,
        login_throttle::{self, Charge},
        retrying,
    },
};

/// What part of the free attempts may be under way at once in one process.
const TURNS: u32 = 4;
/// How many budgets are deleted at once, and after how long without an attempt.
const PRUNED_AT_ONCE: i64 = 1000;
const PRUNED_AFTER: Duration = Duration::from_secs(25 * 3600);

/// Who may try a password now.
#[derive(Debug)]
pub(super) struct Throttle {
    turns: ConcurrencyLimits,
    limits: LoginFailures,
    store: Store,
    clock: Clock,
}

/// From where a password comes.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The address of the end user's client; None if the caller does not know.
    pub address: Option<ClientAddress>,
    /// From a device hint.
    pub device: Option<Device>,
}

impl Source {
    /// The address as people are shown it; empty if it is not known.
    pub fn shown(&self) -> String {
        self.address.map(|address| address.network().to_string()).unwrap_or_default()
    }
}

/// An attempt that has been charged, or is about to be. Dropped before its password was looked at, because of an error or
/// because the caller has gone, it is taken back: nobody has learned anything.
#[derive(Debug)]
pub(super) struct Attempt {
    charges: Vec<Charge>,
    store: Store,
    /// Attempts on one name, or from one address, wait here for each other, so that right passwords side by side do not look
    /// like guesses.
    _turns: Vec<Permit>,
}

/// The charges of an attempt that stands.
#[derive(Debug)]
pub(super) struct Standing(Vec<Charge>);

impl Attempt {
    /// The password seems to be wrong: the attempt stands, whatever becomes of the caller, unless it is doubted again.
    pub(super) fn stand(&mut self) -> Standing {
        Standing(std::mem::take(&mut self.charges))
    }

    /// Nobody knows yet whether the password was wrong.
    pub(super) fn doubt(&mut self, Standing(charges): Standing) {
        self.charges = charges;
    }

    /// The password was right.
    pub(super) async fn forgive(mut self) -> Result<(), Error> {
        let (store, charges) = (self.store.clone(), std::mem::take(&mut self.charges));
        if charges.is_empty() {
            return Ok(());
        }
        to_completion(async move {
            retrying(async || login_throttle::forgive(&mut store.acquire_for_login().await?, &charges).await).await
        })
        .await
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let (store, charges) = (self.store.clone(), std::mem::take(&mut self.charges));
        if let (false, Ok(runtime)) = (charges.is_empty(), Handle::try_current()) {
            runtime.spawn(async move {
                retrying(async || login_throttle::refund(&mut store.acquire_for_login().await?, &charges).await).await
            });
        }
    }
}

/// Those who try a password for the same budget in this process.
#[derive(Clone, Debug, Default)]
struct ConcurrencyLimits(Arc<Mutex<HashMap<[u8; 32], Arc<Semaphore>>>>);

/// A turn that has come.
#[derive(Debug)]
struct Permit {
    all: ConcurrencyLimits,
    key: [u8; 32],
    permit: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimits {
    /// One of `count` turns, unless it does not come by `until`.
    async fn take(&self, key: [u8; 32], count: usize, until: Instant) -> Result<Permit, Error> {
        let turns = Arc::clone(self.lock().entry(key).or_insert_with(|| Arc::new(Semaphore::new(count))));
        let mut turn = Permit { all: self.clone(), key, permit: None };
        let permit = timeout_at(until, turns.acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Overloaded { retry_after: Duration::from_secs(1) })?;
        turn.permit = Some(permit.map_err(Error::internal)?);
        Ok(turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // A permit holds on to its semaphore, and so does whoever waits for one.
        drop(self.permit.take());
        let mut all = self.all.lock();
        if all.get(&self.key).is_some_and(|turns| Arc::strong_count(turns) == 1) {
            all.remove(&self.key);
        }
    }
}

impl Throttle {
    pub(super) fn new(limits: LoginFailures, store: Store, clock: Clock) -> Self {
        Self { turns: ConcurrencyLimits::default(), limits, store, clock }
    }

    /// Charges an attempt for a name, `found` being its user if there is one, whose caller waits until `until`.
    ///
    /// # Errors
    /// [`Error::LoginThrottled`]: the password is not to be looked at. [`Error::Overloaded`], [`Error::DatabaseUnavailable`].
    pub(super) async fn charge(
        &self,
        name: &Username,
        found: Option<&User>,
        source: &Source,
        until: Instant,
    ) -> Result<Attempt, Error> {
        let charges = self.charges(name, found, source);
        let mut turns = Vec::new();
        for Charge { key, budget } in &charges {
            // So few that all replicas together stay below what is free.
            let count = usize::try_from(budget.free / TURNS).unwrap_or(1).max(1);
            turns.push(self.turns.take(*key, count, until).await?);
        }
        let (store, clock) = (self.store.clone(), self.clock.clone());
        // Taken back if this future's answer is never fetched, too.
        let mut attempt = Attempt { charges: Vec::new(), store: self.store.clone(), _turns: turns };
        to_completion(async move {
            if charges.is_empty() {
                return Ok(attempt);
            }
            let charged = retrying(async || {
                login_throttle::charge(&mut store.acquire_for_login().await?, &charges, clock.now()).await
            });
            match charged.await? {
                None => {
                    attempt.charges = charges;
                    Ok(attempt)
                }
                Some(retry_after) => Err(Error::LoginThrottled { retry_after }),
            }
        })
        .await
    }

    /// Forgets the attempts on a name, because its password is another now.
    pub(super) async fn forget(&self, name: &Username) -> Result<(), Error> {
        let charge = Charge { key: name_key(name), budget: Budget::of_account(self.limits.per_account) };
        login_throttle::forgive(&mut self.store.acquire().await?, &[charge]).await
    }

    /// Deletes budgets that nobody has touched for long.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(super) async fn clean(&self) -> Result<(), Error> {
        let mut conn = self.store.acquire().await?;
        let before = self.clock.now() - PRUNED_AFTER;
        while login_throttle::prune(&mut conn, before, PRUNED_AT_ONCE).await? > 0 {}
        Ok(())
    }

    fn charges(&self, name: &Username, found: Option<&User>, source: &Source) -> Vec<Charge> {
        let limits = self.limits;
        let mut charges = Vec::new();
        if limits.per_account == 0 {
            return charges;
        }
        let account = Budget::of_account(limits.per_account);
        // Who logged in before the password was changed may know the old one alone.
        let knows = |device: &Device| {
            found.is_some_and(|u| device.user_id == u.id && device.issued_at >= unix(u.password_changed_at))
        };
        if let Some(device) = source.device.filter(knows) {
            let key = sha256(&[b"device", device.user_id.0.as_bytes(), device.id.as_bytes()]);
            return vec![Charge { key, budget: account }];
        }
        charges.push(Charge { key: name_key(name), budget: account });
        if let (1.., Some(address)) = (limits.per_source, source.address) {
            let key = sha256(&[b"source", &address.network().to_bytes()]);
            charges.push(Charge { key, budget: Budget::of_source(limits.per_source) });
        }
        charges
    }
}

fn name_key(name: &Username) -> [u8; 32] {
    sha256(&[b"name", name.as_str().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_that_does_not_come_in_time_is_refused_and_nothing_of_it_stays() {
        let turns = ConcurrencyLimits::default();
        let (ours, other) = ([1; 32], [2; 32]);
        let soon = || Instant::now() + Duration::from_millis(5);
        let held = turns.take(ours, 1, soon()).await.expect("free");
        for _ in 0..2 {
            let late = turns.take(ours, 1, soon()).await;
            assert!(matches!(late, Err(Error::Overloaded { .. })), "{late:?}");
        }
        turns.take(other, 1, soon()).await.expect("another budget's");
        drop(held);
        assert!(turns.lock().is_empty());
        turns.take(ours, 1, soon()).await.expect("free again");
    }
}
