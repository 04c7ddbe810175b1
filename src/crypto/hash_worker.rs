//! A hashing thread: argon2 with memory that it keeps. It runs at low priority, so that Verify wins the CPU (promise P5).

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError, mpsc::Receiver},
};

use argon2::{Algorithm, Argon2, Block, Params, Version, password_hash::phc::PasswordHash as Phc};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use tokio::time::Instant;

use super::{
    foreign_hash::{ForeignHash, is_foreign},
    hash_job::{Job, Load, Task},
    pepper::Pepper,
    phc::{self, OUTPUT_BYTES, SALT_BYTES, unreadable},
    random,
};
use crate::{
    domain::{
        password::Password,
        password_hash::{PasswordHash, Verdict},
    },
    error::Error,
};

/// Difference by which the priority is lower than that of other threads.
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
        while let Some(mut job) = self.next() {
            self.load.taken();
            self.load.waited(job.queued_at.elapsed());
            // Nobody waits for the answer any more, or not for as long as it takes: do not burn CPU on it.
            if job.is_abandoned() {
                job.span.fail("cancelled");
                self.load.shed();
                continue;
            }
            if job.until.is_some_and(|until| until < Instant::now()) {
                self.load.shed();
                job.refuse(self.load.time());
                continue;
            }
            let begun = Instant::now();
            job.span.event("hashing begins");
            match job.task {
                Task::Hash(password, pepper, reply) => {
                    drop(reply.send(self.caught(|worker| worker.hash(&password, pepper.as_deref()))));
                }
                Task::Verify(password, hash, pepper, reply) => {
                    drop(reply.send(self.caught(|worker| worker.verify(&password, &hash, pepper.as_deref()))));
                }
            }
            drop(job.span);
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
        let argon2 = phc::function(Algorithm::Argon2id, Version::V0x13, params, pepper);
        let argon2 = argon2.ok_or_else(|| Error::internal("argon2 refuses the pepper"))?;
        let output = self.compute(&argon2, password, &salt)?;
        phc::write(argon2.params(), &salt, &output)
    }

    fn verify(&mut self, password: &Password, hash: &PasswordHash, pepper: Option<&Pepper>) -> Result<Verdict, Error> {
        if is_foreign(hash.as_str()) {
            // None of our peppers is in one.
            let foreign = ForeignHash::parse(hash.as_str()).ok().filter(|_| pepper.is_none()).ok_or_else(unreadable)?;
            self.load.hashed();
            return foreign.verify(password);
        }
        let stored = Phc::new(hash.as_str()).map_err(|_| unreadable())?;
        let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else {
            return Err(unreadable());
        };
        let argon2 = phc::reader(&stored, pepper).ok_or_else(unreadable)?;
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

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
}
