//! A hashing thread: argon2 with memory that it keeps. It runs at low priority, so that Verify wins the CPU (promise P5).

use std::{
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
                Task::Hash(password, pepper, reply) => drop(reply.send(self.hash(&password, pepper.as_deref()))),
                Task::Verify(password, hash, pepper, reply) => {
                    drop(reply.send(self.verify(&password, &hash, pepper.as_deref())));
                }
            }
            self.load.took(begun.elapsed());
        }
    }

    fn next(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
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
    algorithm != Algorithm::Argon2id
        || version != Version::V0x13
        || stored.m_cost() < params.m_cost()
        || stored.t_cost() < params.t_cost()
        || stored.p_cost() < params.p_cost()
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
