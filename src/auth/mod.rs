//! The product: one file per operation. Joins the pure decisions of `domain` with keys, hashes, the revocation index and
//! the database. Knows neither gRPC nor HTTP.

pub mod audit;
pub mod decoys;
pub mod import;
pub mod key_kill;
pub mod key_reseal;
pub mod key_rotation;
pub mod keys;
mod known_keys;
pub mod login;
pub mod pepper;
pub mod proven;
pub mod refresh;
pub mod restores;
pub mod revocation_queue;
pub mod revoke;
pub mod rotation_queue;
pub mod sessions;
pub mod throttle;
pub mod tokens;
pub mod users;
pub mod verify;

use std::{future::Future, sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

use self::{
    audit::Refusals, decoys::Decoys, keys::Keys, proven::ProvenReads, revocation_queue::RevocationQueue,
    rotation_queue::RotationQueue, throttle::Turns,
};
use crate::{
    clock::Clock,
    config::Policy,
    crypto::{password::PasswordHasher, password_rules::PasswordRules, random},
    domain::{audit::Actor, ids::SessionId, session::Session, user::Username},
    error::Error,
    revocation::{Revocations, announcements::Announcements, confirm::Confirmations},
    store::{Store, credentials::Credentials},
};

/// Users and their sessions: all that needs no key. The command line works with this alone.
#[derive(Debug)]
pub struct Accounts {
    /// The database.
    pub store: Store,
    /// The hashing threads.
    pub hasher: Arc<PasswordHasher>,
    /// What a new password must not be.
    pub password_rules: PasswordRules,
    /// This replica, as the others know it.
    pub replica: Uuid,
    /// What is known of revocations.
    pub revocations: Arc<Revocations>,
    /// What is known of the other replicas.
    pub confirmations: Arc<Confirmations>,
    /// Those who wait to read a session.
    pub session_reads: Arc<ProvenReads<SessionId, Session>>,
    /// Those who wait to read a user's password hash.
    pub credential_reads: Arc<ProvenReads<Username, Credentials>>,
    /// Those who wait to end a session.
    pub queue: RevocationQueue,
    /// Those who wait to rotate one.
    pub rotations: RotationQueue,
    /// What wakes the followers after a commit.
    pub announcements: Arc<Announcements>,
    /// Asks this replica's follower for a beat before it is due.
    pub wake: Arc<Notify>,
    /// Those who try a password.
    pub turns: Turns,
    /// What stands in for users that do not exist.
    pub decoys: Decoys,
    /// Refusals that have not been written yet.
    pub refusals: Refusals,
    /// Who administers through this process.
    pub operator: Actor,
    /// The time.
    pub clock: Clock,
    /// The deployment's choices.
    pub policy: Policy,
}

/// The whole service: accounts, and the keys that make and check tokens.
#[derive(Debug)]
pub struct Auth {
    /// Users and sessions.
    pub accounts: Accounts,
    /// The keys.
    pub keys: Keys,
}

/// The most times that a transaction is run; the pauses between are 0.4 seconds together.
const RUNS: u32 = 5;

/// A page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The last id of the page before.
    pub after: Uuid,
    /// At most so many.
    pub size: u16,
}

impl Accounts {
    /// Passes if this replica may sign tokens now: it has heard of the keys within the bound, and its wall clock, which is
    /// written into each token, is near enough to the database's.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::ClockWrong`].
    pub(crate) fn may_sign(&self) -> Result<(), Error> {
        self.revocations.fresh(None)?;
        if self.revocations.clock_distance() > self.policy.max_clock_distance {
            return Err(Error::ClockWrong);
        }
        Ok(())
    }
}

/// Runs work on the database to its end even if the caller goes away, so that neither a transaction nor its connection
/// is cut short.
///
/// # Errors
/// Those of the work; [`Error::Internal`] when it panicked.
pub async fn to_completion<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(Error::internal)?
}

/// Runs a transaction again when the database asks for it (SQLSTATE 40001, 40P01, 55P03, XX000), [`RUNS`] times at most.
async fn retrying<T, F>(transaction: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for run in 1..RUNS {
        match transaction().await {
            Err(Error::Conflict) => sleep(pause_after(run)).await,
            result => return result,
        }
    }
    transaction().await
}

/// Three times as long after each run, and so that those who met do not meet again.
fn pause_after(run: u32) -> Duration {
    let longest = Duration::from_millis(10) * 3_u32.saturating_pow(run - 1);
    let [random] = random::bytes().unwrap_or_default();
    longest / 2 + longest / 2 * u32::from(random) / 255
}

/// `now + by`, at the end of time if it is beyond.
fn later(now: OffsetDateTime, by: Duration) -> OffsetDateTime {
    time::Duration::try_from(by)
        .ok()
        .and_then(|by| now.checked_add(by))
        .unwrap_or(time::PrimitiveDateTime::MAX.assume_utc())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_transaction_is_run_again_with_pauses_and_then_given_up() {
        let runs = AtomicU32::new(0);
        let conflicts = |until: u32| {
            let runs = &runs;
            move || async move {
                let run = runs.fetch_add(1, Ordering::Relaxed) + 1;
                if run < until { Err(Error::Conflict) } else { Ok(run) }
            }
        };
        assert_eq!(retrying(conflicts(3)).await.expect("done"), 3);
        runs.store(0, Ordering::Relaxed);
        assert!(matches!(retrying(conflicts(99)).await, Err(Error::Conflict)));
        assert_eq!(runs.load(Ordering::Relaxed), RUNS);
    }

    #[test]
    fn pauses_grow_and_differ() {
        for (run, longest) in [(1, 10), (2, 30), (3, 90), (4, 270)] {
            let longest = Duration::from_millis(longest);
            assert!((0..100).all(|_| (longest / 2..=longest).contains(&pause_after(run))));
        }
    }
}
