//! Throttling of attempts at passwords (REQUIREMENTS R55, R57). Every attempt is counted before the password is looked
//! at, against two budgets. One is that of the name, whether there is such a user or not, the other that of the address
//! it comes from. A device that has logged in as that user before counts against a budget of its own alone if it shows its
//! hint. So whoever hammers a name locks out strangers, and never its owner.
//!
//! A right password takes back what its device, or its address, has counted for that name, and no more. Others must not see
//! that somebody has logged in (promise P6): what they have counted goes by time alone.

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
    crypto::{device_hint::Device, digest::sha256_of_parts},
    domain::{
        address::ClientAddress,
        throttle::{Budget, LoginFailures},
        user::{User, Username},
    },
    error::Error,
    store::{
        Store,
        login_throttle::{self, Attempt, KeyedBudget},
        retrying,
    },
};

/// The free attempts divided by this may be under way at once in one process.
const CONCURRENT_SHARE: u32 = 4;
/// Number of budgets that one statement deletes, and their age since the last attempt.
const PRUNED_AT_ONCE: i64 = 1000;
const PRUNED_AFTER: Duration = Duration::from_secs(25 * 3600);

/// The throttle of attempts at passwords.
#[derive(Debug)]
pub(super) struct Throttle {
    concurrency: ConcurrencyLimits,
    limits: LoginFailures,
    store: Store,
    clock: Clock,
}

/// The place from which a password comes.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The address of the end user's client; None if the caller does not know.
    pub address: Option<ClientAddress>,
    /// The device that the hint names.
    pub device: Option<Device>,
}

impl Source {
    /// The address as people are shown it; empty if it is not known.
    pub fn shown(&self) -> String {
        self.address.map(|address| address.network().to_string()).unwrap_or_default()
    }
}

/// An attempt that has been recorded, or is about to be. Dropped before its password was looked at, because of an error or
/// because the caller has gone, it is taken back: nobody has learned anything.
#[derive(Debug)]
pub(super) struct RecordedAttempt {
    /// None once it is settled.
    attempt: Option<Attempt>,
    store: Store,
    /// Attempts on one name, or from one address, wait here for each other, so that right passwords side by side do not look
    /// like guesses.
    _permits: Vec<Permit>,
}

/// An attempt whose password seems to be wrong.
#[derive(Debug)]
pub(super) struct FailedAttempt(Option<Attempt>);

impl RecordedAttempt {
    /// Lets the attempt count because its password seems to be wrong, whatever becomes of the caller, unless it is
    /// reopened.
    pub(super) fn confirm_failure(&mut self) -> FailedAttempt {
        FailedAttempt(self.attempt.take())
    }

    /// Takes a failure back while nobody knows yet if the password was wrong.
    pub(super) fn reopen(&mut self, FailedAttempt(attempt): FailedAttempt) {
        self.attempt = attempt;
    }

    /// Forgets the attempts on the name, because the password was right.
    pub(super) async fn reset(mut self) -> Result<(), Error> {
        let store = self.store.clone();
        let Some(attempt) = self.attempt.take() else {
            return Ok(());
        };
        to_completion(async move {
            retrying(async || login_throttle::reset(&mut store.acquire_for_login().await?, &attempt).await).await
        })
        .await
    }
}

impl Drop for RecordedAttempt {
    fn drop(&mut self) {
        let store = self.store.clone();
        if let (Some(attempt), Ok(runtime)) = (self.attempt.take(), Handle::try_current()) {
            runtime.spawn(async move {
                retrying(async || login_throttle::undo(&mut store.acquire_for_login().await?, &attempt).await).await
            });
        }
    }
}

/// Limits on the attempts for the same budget that are under way in this process.
#[derive(Clone, Debug, Default)]
struct ConcurrencyLimits(Arc<Mutex<HashMap<[u8; 32], Arc<Semaphore>>>>);

/// A place among those who may try for one budget now.
#[derive(Debug)]
struct Permit {
    all: ConcurrencyLimits,
    key: [u8; 32],
    permit: Option<OwnedSemaphorePermit>,
}

impl ConcurrencyLimits {
    /// One of `count` permits, unless none comes free by `until`.
    async fn take(&self, key: [u8; 32], count: usize, until: Instant) -> Result<Permit, Error> {
        let semaphore = Arc::clone(self.lock().entry(key).or_insert_with(|| Arc::new(Semaphore::new(count))));
        let mut ours = Permit { all: self.clone(), key, permit: None };
        let permit = timeout_at(until, semaphore.acquire_owned()).await;
        let permit = permit.map_err(|_| Error::Overloaded { retry_after: Duration::from_secs(1) })?;
        ours.permit = Some(permit.map_err(Error::internal)?);
        Ok(ours)
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
        if all.get(&self.key).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
            all.remove(&self.key);
        }
    }
}

impl Throttle {
    pub(super) fn new(limits: LoginFailures, store: Store, clock: Clock) -> Self {
        Self { concurrency: ConcurrencyLimits::default(), limits, store, clock }
    }

    /// Records an attempt for a name, `found` being its user if there is one, whose caller waits until `until`.
    ///
    /// # Errors
    /// [`Error::LoginThrottled`]: the password is not to be looked at. [`Error::Overloaded`], [`Error::DatabaseUnavailable`].
    pub(super) async fn record(
        &self,
        name: &Username,
        found: Option<&User>,
        source: &Source,
        until: Instant,
    ) -> Result<RecordedAttempt, Error> {
        let attempt = self.attempt(name, found, source);
        let mut permits = Vec::new();
        for KeyedBudget { key, budget } in attempt.budgets.iter().filter(|keyed| Some(keyed.key) != attempt.own) {
            // So few that all replicas together stay below what is free.
            let count = usize::try_from(budget.free_attempts / CONCURRENT_SHARE).unwrap_or(1).max(1);
            permits.push(self.concurrency.take(*key, count, until).await?);
        }
        let (store, clock) = (self.store.clone(), self.clock.clone());
        // Taken back if this future's answer is never fetched, too.
        let mut recorded = RecordedAttempt { attempt: None, store: self.store.clone(), _permits: permits };
        to_completion(async move {
            if attempt.budgets.is_empty() {
                return Ok(recorded);
            }
            let now = || Attempt { at: clock.now(), ..attempt.clone() };
            let counted = retrying(async || {
                let attempt = now();
                let wait = login_throttle::record(&mut store.acquire_for_login().await?, &attempt).await?;
                Ok((attempt, wait))
            });
            match counted.await? {
                (attempt, None) => {
                    recorded.attempt = Some(attempt);
                    Ok(recorded)
                }
                (_, Some(retry_after)) => Err(Error::LoginThrottled { retry_after }),
            }
        })
        .await
    }

    /// Forgets the attempts on a name, because an administrator has set another password.
    pub(super) async fn reset_for(&self, name: &Username) -> Result<(), Error> {
        login_throttle::forget(&mut self.store.acquire().await?, &name_key(name)).await
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

    /// The attempt that is made now, with what it counts against.
    fn attempt(&self, name: &Username, found: Option<&User>, source: &Source) -> Attempt {
        let LoginFailures { per_account, per_source } = self.limits;
        let mut attempt = Attempt { budgets: Vec::new(), own: None, at: self.clock.now() };
        let mut count = |key, budget| attempt.budgets.push(KeyedBudget { key, budget });
        // Who logged in before the password was changed may know the old one alone.
        let knows = |device: &Device| {
            found.is_some_and(|u| device.user_id == u.id && device.issued_at >= unix(u.password_changed_at))
        };
        if let Some(device) = source.device.filter(knows) {
            if per_account > 0 {
                let key = sha256_of_parts(&[b"device", device.user_id.0.as_bytes(), device.id.as_bytes()]);
                count(key, Budget::of_account(per_account));
                attempt.own = Some(key);
            }
            return attempt;
        }
        if per_account > 0 {
            count(name_key(name), Budget::of_account(per_account));
        }
        let network = source.address.map(|address| address.network().to_bytes());
        if let (1.., Some(network)) = (per_source, &network) {
            count(sha256_of_parts(&[b"source", network]), Budget::of_source(per_source));
        }
        if let (false, Some(network)) = (attempt.budgets.is_empty(), &network) {
            let key = sha256_of_parts(&[b"name at source", name.as_str().as_bytes(), network]);
            attempt.budgets.push(KeyedBudget { key, budget: Budget::of_own_attempts() });
            attempt.own = Some(key);
        }
        attempt
    }
}

fn name_key(name: &Username) -> [u8; 32] {
    sha256_of_parts(&[b"name", name.as_str().as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_permit_that_does_not_come_in_time_is_refused_and_nothing_of_it_stays() {
        let limits = ConcurrencyLimits::default();
        let (ours, other) = ([1; 32], [2; 32]);
        let soon = || Instant::now() + Duration::from_millis(5);
        let held = limits.take(ours, 1, soon()).await.expect("free");
        for _ in 0..2 {
            let late = limits.take(ours, 1, soon()).await;
            assert!(matches!(late, Err(Error::Overloaded { .. })), "{late:?}");
        }
        limits.take(other, 1, soon()).await.expect("another budget's");
        drop(held);
        assert!(limits.lock().is_empty());
        limits.take(ours, 1, soon()).await.expect("free again");
    }
}
