//! Throttling of attempts at passwords (REQUIREMENTS R55, R57). Every attempt is counted before the password is looked
//! at, against two budgets. One is that of the name, whether there is such a user or not, the other that of the address
//! it comes from. A device that has logged in as that user before counts against a budget of its own alone if it shows its
//! hint. So whoever hammers a name locks out strangers, and never its owner.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
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
        throttle::{Budget, LoginFailures},
        user::{User, Username},
    },
    error::Error,
    store::{
        Store,
        login_throttle::{self, KeyedBudget},
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
    /// The address of the end user's client; empty if the caller does not know.
    pub ip: String,
    /// The device that the hint names.
    pub device: Option<Device>,
}

impl Source {
    /// The address as people are shown it: an IPv4 address, or an IPv6 network as in RFC 4291 section 2.3.
    pub fn shown(&self) -> String {
        match self.ip.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(IpAddr::V4(ip)) => ip.to_string(),
            Ok(IpAddr::V6(ip)) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            Err(_) => self.ip.clone(),
        }
    }
}

/// An attempt that has been recorded, or is about to be. Dropped before its password was looked at, because of an error or
/// because the caller has gone, it is taken back: nobody has learned anything.
#[derive(Debug)]
pub(super) struct RecordedAttempt {
    budgets: Vec<KeyedBudget>,
    store: Store,
    /// Attempts on one name, or from one address, wait here for each other, so that right passwords side by side do not look
    /// like guesses.
    _permits: Vec<Permit>,
}

/// An attempt whose password seems to be wrong: the budgets that it counts against.
#[derive(Debug)]
pub(super) struct FailedAttempt(Vec<KeyedBudget>);

impl RecordedAttempt {
    /// Lets the attempt count because its password seems to be wrong, whatever becomes of the caller, unless it is
    /// reopened.
    pub(super) fn confirm_failure(&mut self) -> FailedAttempt {
        FailedAttempt(std::mem::take(&mut self.budgets))
    }

    /// Takes a failure back while nobody knows yet if the password was wrong.
    pub(super) fn reopen(&mut self, FailedAttempt(budgets): FailedAttempt) {
        self.budgets = budgets;
    }

    /// Forgets the attempts on the name, because the password was right.
    pub(super) async fn reset(mut self) -> Result<(), Error> {
        let (store, budgets) = (self.store.clone(), std::mem::take(&mut self.budgets));
        if budgets.is_empty() {
            return Ok(());
        }
        to_completion(async move {
            retrying(async || login_throttle::reset(&mut store.acquire_for_login().await?, &budgets).await).await
        })
        .await
    }
}

impl Drop for RecordedAttempt {
    fn drop(&mut self) {
        let (store, budgets) = (self.store.clone(), std::mem::take(&mut self.budgets));
        if let (false, Ok(runtime)) = (budgets.is_empty(), Handle::try_current()) {
            runtime.spawn(async move {
                retrying(async || login_throttle::undo(&mut store.acquire_for_login().await?, &budgets).await).await
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
        let budgets = self.budgets(name, found, source);
        let mut permits = Vec::new();
        for KeyedBudget { key, budget } in &budgets {
            // So few that all replicas together stay below what is free.
            let count = usize::try_from(budget.free_attempts / CONCURRENT_SHARE).unwrap_or(1).max(1);
            permits.push(self.concurrency.take(*key, count, until).await?);
        }
        let (store, clock) = (self.store.clone(), self.clock.clone());
        // Taken back if this future's answer is never fetched, too.
        let mut attempt = RecordedAttempt { budgets: Vec::new(), store: self.store.clone(), _permits: permits };
        to_completion(async move {
            if budgets.is_empty() {
                return Ok(attempt);
            }
            let recorded = retrying(async || {
                login_throttle::record(&mut store.acquire_for_login().await?, &budgets, clock.now()).await
            });
            match recorded.await? {
                None => {
                    attempt.budgets = budgets;
                    Ok(attempt)
                }
                Some(retry_after) => Err(Error::LoginThrottled { retry_after }),
            }
        })
        .await
    }

    /// Forgets the attempts on a name, because its password is another now.
    pub(super) async fn reset_for(&self, name: &Username) -> Result<(), Error> {
        let keyed = KeyedBudget { key: name_key(name), budget: Budget::of_account(self.limits.per_account) };
        login_throttle::reset(&mut self.store.acquire().await?, &[keyed]).await
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

    fn budgets(&self, name: &Username, found: Option<&User>, source: &Source) -> Vec<KeyedBudget> {
        let limits = self.limits;
        let mut budgets = Vec::new();
        if limits.per_account == 0 {
            return budgets;
        }
        let account = Budget::of_account(limits.per_account);
        // Who logged in before the password was changed may know the old one alone.
        let knows = |device: &Device| {
            found.is_some_and(|u| device.user_id == u.id && device.issued_at >= unix(u.password_changed_at))
        };
        if let Some(device) = source.device.filter(knows) {
            let key = sha256_of_parts(&[b"device", device.user_id.0.as_bytes(), device.id.as_bytes()]);
            return vec![KeyedBudget { key, budget: account }];
        }
        budgets.push(KeyedBudget { key: name_key(name), budget: account });
        if limits.per_source > 0 && !source.ip.is_empty() {
            let key = sha256_of_parts(&[b"source", &network(&source.ip)]);
            budgets.push(KeyedBudget { key, budget: Budget::of_source(limits.per_source) });
        }
        budgets
    }
}

fn name_key(name: &Username) -> [u8; 32] {
    sha256_of_parts(&[b"name", name.as_str().as_bytes()])
}

/// The part of an address that one attacker has: an IPv4 address or an IPv6 network of 64 bits. Text that is no address
/// is taken as it is.
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

    #[test]
    fn r57_an_address_is_the_same_in_each_of_its_forms() {
        assert_eq!(network("192.0.2.7"), network("::ffff:192.0.2.7"));
        assert_eq!(network("2001:db8::1"), network("2001:0db8:0:0:ffff::2"), "one network");
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
        assert_ne!(network("unix"), network(""));
        let source = |ip: &str| Source { ip: ip.to_owned(), device: None }.shown();
        assert_eq!(source("2001:db8:0:1:2::3"), "2001:db8:0:1::/64");
        assert_eq!((source("::ffff:192.0.2.7"), source("unix")), ("192.0.2.7".to_owned(), "unix".to_owned()));
    }
}
