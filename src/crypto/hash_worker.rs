//! A hashing thread: argon2 with memory that it keeps. It runs at low priority, so that Verify wins the CPU (promise P5).

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError, mpsc::Receiver},
    time::Duration,
};

use argon2::{Algorithm, Argon2, Block, Params, Version, password_hash::phc::PasswordHash as Phc};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::time::Instant;

use super::{
    foreign_hash::{ForeignHash, is_foreign},
    password::{Job, Load, OUTPUT_BYTES, PasswordHash, SALT_BYTES, Task, Verdict, phc},
    pepper::Pepper,
    random,
};
use crate::{domain::password::Password, error::Error};

/// What a stored hash may cost at most, so that a poisoned row cannot stop the service.
const MAX_M_COST: u32 = 256 * 1024;
const MAX_T_COST: u32 = 16;
const MAX_P_COST: u32 = 8;
/// How much lower than the other threads' the priority is.
const NICE: i32 = 10;

/// One hashing thread.
pub(super) struct Worker {
    pub(super) jobs: Arc<Mutex<Receiver<Job>>>,
    pub(super) load: Arc<Load>,
    pub(super) params: Params,
    pub(super) memory: Vec<Block>,
}

impl Worker {
    pub(super) fn run(mut self) {
        // Of this thread alone, on Linux.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "hashing threads keep their priority");
        }
        while let Some(job) = self.next() {
            self.load.taken();
            // Nobody waits for the answer any more, or not for as long as it takes: do not burn CPU on it.
            if job.is_abandoned() {
                continue;
            }
            if job.until.is_some_and(|until| until < Instant::now()) {
                job.refuse(self.load.time());
                continue;
            }
            let begun = Instant::now();
            match job.task {
                Task::Hash(password, pepper, reply) => {
                    drop(reply.send(self.caught(|worker| worker.hash(&password, pepper.as_deref()))));
                }
                Task::Verify(password, hash, pepper, reply) => {
                    drop(reply.send(self.caught(|worker| worker.verify(&password, &hash, pepper.as_deref()))));
                }
            }
            self.load.took(begun.elapsed());
        }
    }

    fn next(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
    }

    /// A panic costs its caller the answer, and nobody the thread.
    fn caught<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        panic::catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or_else(|_| {
            // Whatever it was in the middle of.
            self.memory = Vec::new();
            Err(Error::internal("hashing a password panicked"))
        })
    }

    fn hash(&mut self, password: &Password, pepper: Option<&Pepper>) -> Result<PasswordHash, Error> {
        let salt = random::bytes::<SALT_BYTES>()?;
        let params = pepper.map_or_else(|| Ok(self.params.clone()), |pepper| pepper.named_in(&self.params));
        let params = params.map_err(|error| Error::internal(error.to_string()))?;
        let argon2 = function(Algorithm::Argon2id, Version::V0x13, params, pepper);
        let argon2 = argon2.ok_or_else(|| Error::internal("argon2 refuses the pepper"))?;
        let output = self.compute(&argon2, password, &salt)?;
        phc(argon2.params(), &salt, &output)
    }

    fn verify(&mut self, password: &Password, hash: &PasswordHash, pepper: Option<&Pepper>) -> Result<Verdict, Error> {
        if is_foreign(hash.as_str()) {
            // None of our peppers is in one.
            let foreign = ForeignHash::parse(hash.as_str()).ok().filter(|_| pepper.is_none()).ok_or_else(unreadable)?;
            self.load.hashed();
            return foreign.verify(password);
        }
        let phc = Phc::new(hash.as_str()).map_err(|_| unreadable())?;
        let (Some(salt), Some(expected)) = (phc.salt, phc.hash) else {
            return Err(unreadable());
        };
        let argon2 = reader(&phc, pepper).ok_or_else(unreadable)?;
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
        self.load.hashed();
        Ok(output)
    }
}

/// The hash function that a stored hash names, if it is argon2 within the caps, with the pepper that it names.
pub(super) fn reader<'p>(phc: &Phc, pepper: Option<&'p Pepper>) -> Option<Argon2<'p>> {
    let (algorithm, version, params) = named(phc)?;
    let affordable = params.m_cost() <= MAX_M_COST && params.t_cost() <= MAX_T_COST && params.p_cost() <= MAX_P_COST;
    if affordable { function(algorithm, version, params, pepper) } else { None }
}

fn function(algorithm: Algorithm, version: Version, params: Params, pepper: Option<&Pepper>) -> Option<Argon2<'_>> {
    match pepper {
        Some(pepper) => pepper.function(algorithm, version, params),
        None => Some(Argon2::new(algorithm, version, params)),
    }
}

/// The name of the pepper that a stored hash was made with; None for one without.
///
/// # Errors
/// [`Error::Internal`] when that cannot be said.
pub(super) fn keyid(hash: &PasswordHash) -> Result<Option<String>, Error> {
    if !hash.as_str().starts_with("$argon2") {
        return Ok(None);
    }
    let phc = Phc::new(hash.as_str()).map_err(|_| unreadable())?;
    let wrong = |error| Error::internal(format!("a stored password hash cannot be read: {error}"));
    Params::try_from(&phc.params).map_err(wrong)?;
    Ok(phc.params.get("keyid").map(|keyid| keyid.to_string()))
}

fn unreadable() -> Error {
    Error::internal("a stored password hash cannot be read")
}

/// What a hash says it was made with.
fn named(phc: &Phc) -> Option<(Algorithm, Version, Params)> {
    let algorithm = Algorithm::new(phc.algorithm.as_str()).ok()?;
    // Argon2 began to write its version with 0x13.
    let version = Version::try_from(phc.version.unwrap_or(0x10)).ok()?;
    Some((algorithm, version, Params::try_from(&phc.params).ok()?))
}

/// Whether a stored hash is weaker than `params`, or none of ours: its owner's next right password replaces it.
pub(super) fn is_outdated(hash: &PasswordHash, params: &Params) -> bool {
    let Some((algorithm, version, stored)) = Phc::new(hash.as_str()).ok().as_ref().and_then(named) else {
        return true;
    };
    algorithm != Algorithm::Argon2id || version != Version::V0x13 || strength(&stored) < strength(params)
}

/// What guessing costs: the memory filled in all passes, and where that is the same, the memory at once. One order of all
/// costs, so that replicas with different settings do not replace each other's hashes for ever. OWASP takes costs of about
/// the same product for equal. Lanes say how the work is divided, not how much there is.
fn strength(params: &Params) -> (u64, u32) {
    (u64::from(params.m_cost()) * u64::from(params.t_cost()), params.m_cost())
}

impl Job {
    fn is_abandoned(&self) -> bool {
        match &self.task {
            Task::Hash(_, _, reply) => reply.is_closed(),
            Task::Verify(_, _, _, reply) => reply.is_closed(),
        }
    }

    fn refuse(self, retry_after: Duration) {
        let error = Error::Overloaded { retry_after };
        match self.task {
            Task::Hash(_, _, reply) => drop(reply.send(Err(error))),
            Task::Verify(_, _, _, reply) => drop(reply.send(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::domain::hash_cost::LEAST_COSTS;

    fn worker() -> Worker {
        let (_, jobs) = sync_channel(1);
        let params = Params::new(8, 1, 1, Some(OUTPUT_BYTES)).expect("parameters");
        Worker { jobs: Arc::new(Mutex::new(jobs)), load: Arc::default(), params, memory: Vec::new() }
    }

    #[test]
    fn after_a_panic_a_thread_hashes_on_with_fresh_memory() {
        let mut worker = worker();
        let password = Password::parse("password", "right").expect("valid");
        let hash = worker.caught(|worker| worker.hash(&password, None)).expect("hashed");
        let failed: Result<(), Error> = worker.caught(|worker| {
            worker.memory.truncate(1);
            panic!("by a library");
        });
        assert!(matches!(failed, Err(Error::Internal(_))), "{failed:?}");
        assert!(worker.memory.is_empty());
        assert_eq!(worker.caught(|worker| worker.verify(&password, &hash, None)).expect("checked"), Verdict::Right);
    }

    /// Replicas whose settings differ would replace each other's hashes at each login.
    #[test]
    fn r50_of_two_costs_at_most_one_is_outdated_to_the_other_and_a_weaker_one_is() {
        let costs: Vec<(u32, u32, u32)> = LEAST_COSTS
            .into_iter()
            .chain([(19_456, 3), (20_480, 2), (2_432, 16), (262_144, 16)])
            .flat_map(|(m, t)| [(m, t, 1), (m, t, 4)])
            .collect();
        let params = |(m, t, p)| Params::new(m, t, p, Some(OUTPUT_BYTES)).expect("parameters");
        let hash = |cost| phc(&params(cost), &[1; SALT_BYTES], &[2; OUTPUT_BYTES]).expect("a hash");
        let outdated = |stored, policy| is_outdated(&hash(stored), &params(policy));
        for one in &costs {
            for other in &costs {
                assert!(!(outdated(*one, *other) && outdated(*other, *one)), "{one:?} {other:?}");
                let weaker = one.0 <= other.0 && one.1 <= other.1 && (one.0, one.1) != (other.0, other.1);
                assert!(!weaker || outdated(*one, *other), "{one:?} {other:?}");
            }
        }
        assert!(outdated((12_288, 3, 1), (19_456, 2, 1)) && outdated((2_432, 16, 1), (19_456, 2, 1)));
    }
}
