//! Password hashing: argon2id on threads of its own, each with memory that it keeps, behind a bounded queue. So a login
//! storm takes neither the async threads nor more memory than threads times the cost (promise P5).
//!
//! A name that does not exist costs one hash of the same parameters (promise P6).

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt},
};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::sync::oneshot;

use super::{
    foreign_hash::{ForeignHash, is_foreign},
    random,
};
use crate::{domain::password::Password, error::Error};

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
/// What a stored hash may cost at most, so that a poisoned row cannot stop the service.
const MAX_M_COST: u32 = 256 * 1024;
const MAX_T_COST: u32 = 16;
const MAX_P_COST: u32 = 8;
/// About what one hash takes; only used to say when a retry has a chance.
const HASH_TIME: Duration = Duration::from_millis(15);

/// A stored password hash: a PHC string, or one of the forms of `foreign_hash.rs`. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// What the hashing threads are set up with.
#[derive(Clone, Copy, Debug)]
pub struct HashPolicy {
    /// How many threads hash.
    pub threads: usize,
    /// How many passwords may wait.
    pub queue: usize,
}

/// Hands passwords to the hashing threads.
pub struct PasswordHasher {
    queue: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    threads: usize,
    dummy: PasswordHash,
    hashes: Arc<AtomicU64>,
}

/// Whether a password was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was.
    Right,
    /// It was not, or there is no such user.
    Wrong,
}

enum Job {
    Hash(Password, oneshot::Sender<Result<PasswordHash, Error>>),
    Verify(Password, PasswordHash, oneshot::Sender<Result<Verdict, Error>>),
}

impl PasswordHasher {
    /// Starts the threads. They end when the hasher is dropped.
    ///
    /// # Errors
    /// [`Error::Internal`] when a thread cannot be started.
    pub fn start(policy: HashPolicy) -> Result<Self, Error> {
        let (queue, jobs) = sync_channel(policy.queue);
        let jobs = Arc::new(Mutex::new(jobs));
        let hashes = Arc::new(AtomicU64::new(0));
        let waiting = Arc::new(AtomicUsize::new(0));
        for _ in 0..policy.threads {
            let worker = Worker {
                jobs: Arc::clone(&jobs),
                waiting: Arc::clone(&waiting),
                hashes: Arc::clone(&hashes),
                memory: Vec::new(),
            };
            thread::Builder::new().name("password".to_owned()).spawn(move || worker.run()).map_err(Error::internal)?;
        }
        // Random instead of a hash: no password matches it.
        let dummy = phc(&random::bytes::<SALT_BYTES>()?, &random::bytes::<OUTPUT_BYTES>()?)?;
        let threads = policy.threads;
        Ok(Self { queue, waiting, threads, dummy, hashes })
    }

    /// Hashes a new password under the current policy.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Error> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job::Hash(password, reply))?;
        answer.await.map_err(|_| Error::ShuttingDown)?
    }

    /// Checks a password against a stored hash; against a dummy of equal cost if there is none.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when the queue is full; [`Error::Internal`] for a stored hash that cannot be read or
    /// costs more than is allowed.
    pub async fn verify(&self, password: Password, stored: Option<&PasswordHash>) -> Result<Verdict, Error> {
        let hash = stored.unwrap_or(&self.dummy).clone();
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job::Verify(password, hash, reply))?;
        answer.await.map_err(|_| Error::ShuttingDown)?
    }

    /// How many hashes have been computed since the start.
    pub fn hashes(&self) -> u64 {
        self.hashes.load(Ordering::Relaxed)
    }

    fn enqueue(&self, job: Job) -> Result<(), Error> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(job).map_err(|error| {
            let waiting = self.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => {
                    let rounds = u32::try_from(waiting / self.threads.max(1)).unwrap_or(u32::MAX);
                    let retry_after = HASH_TIME.saturating_mul(rounds).max(HASH_TIME);
                    Error::Overloaded { retry_after }
                }
                TrySendError::Disconnected(_) => Error::ShuttingDown,
            }
        })
    }
}

/// One hashing thread.
struct Worker {
    jobs: Arc<Mutex<Receiver<Job>>>,
    waiting: Arc<AtomicUsize>,
    hashes: Arc<AtomicU64>,
    memory: Vec<Block>,
}

impl Worker {
    fn run(mut self) {
        while let Some(job) = self.next() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            match job {
                // Nobody waits for the answer any more: do not burn CPU on it.
                Job::Hash(_, reply) if reply.is_closed() => {}
                Job::Verify(_, _, reply) if reply.is_closed() => {}
                Job::Hash(password, reply) => drop(reply.send(self.hash(&password))),
                Job::Verify(password, hash, reply) => {
                    drop(reply.send(self.verify(&password, &hash)));
                }
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
    }

    fn hash(&mut self, password: &Password) -> Result<PasswordHash, Error> {
        let salt = random::bytes::<SALT_BYTES>()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
        let output = self.compute(&argon2, password, &salt)?;
        phc(&salt, &output)
    }

    fn verify(&mut self, password: &Password, hash: &PasswordHash) -> Result<Verdict, Error> {
        let unreadable = || Error::internal("a stored password hash cannot be read");
        if is_foreign(&hash.0) {
            let foreign = ForeignHash::parse(&hash.0).map_err(|_| unreadable())?;
            self.hashes.fetch_add(1, Ordering::Relaxed);
            return foreign.verify(password);
        }
        let phc = Phc::new(&hash.0).map_err(|_| unreadable())?;
        let (Some(salt), Some(expected)) = (phc.salt, phc.hash) else {
            return Err(unreadable());
        };
        let argon2 = reader(&phc).ok_or_else(unreadable)?;
        let output = self.compute(&argon2, password, salt.as_ref())?;
        Ok(match verify_slices_are_equal(&output, expected.as_bytes()) {
            Ok(()) => Verdict::Right,
            Err(_) => Verdict::Wrong,
        })
    }

    fn compute(&mut self, argon2: &Argon2<'_>, password: &Password, salt: &[u8]) -> Result<[u8; OUTPUT_BYTES], Error> {
        let blocks = argon2.params().block_count();
        if self.memory.len() != blocks {
            self.memory.resize(blocks, Block::new());
            self.memory.shrink_to_fit();
        }
        let mut output = [0; OUTPUT_BYTES];
        argon2
            .hash_password_into_with_memory(password.as_bytes(), salt, &mut output, &mut self.memory)
            .map_err(|error| Error::internal(error.to_string()))?;
        self.hashes.fetch_add(1, Ordering::Relaxed);
        Ok(output)
    }
}

/// The hash function that a stored hash names, if it is argon2 within the caps.
pub(super) fn reader(phc: &Phc) -> Option<Argon2<'static>> {
    let algorithm = Algorithm::new(phc.algorithm.as_str()).ok()?;
    // Argon2 began to write its version with 0x13.
    let version = Version::try_from(phc.version.unwrap_or(0x10)).ok()?;
    let params = Params::try_from(&phc.params).ok()?;
    let affordable = params.m_cost() <= MAX_M_COST && params.t_cost() <= MAX_T_COST && params.p_cost() <= MAX_P_COST;
    affordable.then(|| Argon2::new(algorithm, version, params))
}

fn phc(salt: &[u8], output: &[u8]) -> Result<PasswordHash, Error> {
    let parts = || -> argon2::password_hash::phc::Result<Phc> {
        Ok(Phc {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::default(),
            salt: Some(Salt::new(salt)?),
            hash: Some(Output::new(output)?),
        })
    };
    let mut phc = parts().map_err(|error| Error::internal(error.to_string()))?;
    phc.params = ParamsString::try_from(&Params::DEFAULT).map_err(|error| Error::internal(error.to_string()))?;
    Ok(PasswordHash(phc.to_string()))
}

impl PasswordHash {
    /// A hash that comes from the database.
    pub fn from_stored(phc: String) -> Self {
        Self(phc)
    }

    /// The hash as it is stored; for the database and an export alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: HashPolicy = HashPolicy { threads: 1, queue: 4 };

    fn password(text: &str) -> Password {
        Password::parse("password", text).expect("valid")
    }

    #[tokio::test]
    async fn r50_a_hash_is_argon2id_of_owasp_strength_and_matches_its_password_alone() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let hash = hasher.hash(password("right")).await.expect("hashed");
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        for (text, verdict) in [("right", Verdict::Right), ("Right", Verdict::Wrong), ("r", Verdict::Wrong)] {
            assert_eq!(hasher.verify(password(text), Some(&hash)).await.expect("checked"), verdict);
        }
        let again = hasher.hash(password("right")).await.expect("hashed");
        assert_ne!(again, hash, "salted");
    }

    #[tokio::test]
    async fn p6_a_missing_user_costs_a_hash_of_the_same_parameters() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let real = hasher.hash(password("right")).await.expect("hashed");
        let parameters = |hash: &PasswordHash| hash.0.rsplitn(3, '$').nth(2).map(str::to_owned);
        assert_eq!(parameters(&hasher.dummy), parameters(&real));
        let before = hasher.hashes();
        assert_eq!(hasher.verify(password("right"), None).await.expect("checked"), Verdict::Wrong);
        assert_eq!(hasher.hashes(), before + 1);
    }

    #[tokio::test]
    async fn r50_a_stored_hash_that_is_damaged_or_too_costly_is_not_computed() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let salt_and_hash = "c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA";
        for bad in [
            String::new(),
            "plain text".into(),
            format!("$bcrypt$v=1$m=8,t=1,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=4194304,t=2,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=19456,t=4000000,p=1${salt_and_hash}"),
            format!("$argon2id$v=19$m=19456,t=2,p=1000${salt_and_hash}"),
            "$argon2id$v=19$m=19456,t=2,p=1".into(),
        ] {
            let stored = PasswordHash::from_stored(bad.clone());
            let result = hasher.verify(password("right"), Some(&stored)).await;
            assert!(matches!(result, Err(Error::Internal(_))), "{bad}");
        }
        assert_eq!(hasher.hashes(), 0);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_dropped_before_hashing() {
        let hasher = PasswordHasher::start(POLICY).expect("started");
        let (gone, answer) = oneshot::channel();
        drop(answer);
        hasher.enqueue(Job::Hash(password("right"), gone)).expect("room");
        hasher.hash(password("right")).await.expect("hashed");
        assert_eq!(hasher.hashes(), 1);
    }
}
