//! Work for the hashing threads, and how much of it there is. `password.rs` hands it out, `hash_worker.rs` does it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::pepper::Pepper;
use crate::{
    domain::{
        password::Password,
        password_hash::{PasswordHash, Verdict},
    },
    error::Error,
    metrics::Hashing,
    trace::Child,
};

/// Time that a hash is assumed to take before one has been measured.
pub(super) const HASH_TIME: Duration = Duration::from_millis(15);

/// The work that is queued.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) waiting: AtomicUsize,
    pub(super) hashes: AtomicU64,
    /// Time that one hash takes, in nanoseconds: a moving average; 0 before the first.
    pub(super) time: AtomicU64,
    pub(super) metrics: OnceLock<Hashing>,
}

impl Load {
    pub(super) fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn hashed(&self) {
        self.hashes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn waited(&self, time: Duration) {
        if let Some(metrics) = self.metrics.get() {
            metrics.waited(time);
        }
    }

    pub(super) fn shed(&self) {
        if let Some(metrics) = self.metrics.get() {
            metrics.shed();
        }
    }

    pub(super) fn took(&self, time: Duration) {
        if let Some(metrics) = self.metrics.get() {
            metrics.took(time);
        }
        let sample = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // One that was stopped in the middle, with the whole process perhaps, says little of the next.
        let average = |old: u64| if old == 0 { sample } else { old - old / 8 + sample.min(4 * old) / 8 };
        // A sample that another thread overwrites is no loss.
        self.time.store(average(self.time.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    pub(super) fn time(&self) -> Duration {
        match self.time.load(Ordering::Relaxed) {
            0 => HASH_TIME,
            nanos => Duration::from_nanos(nanos),
        }
    }
}

/// Work for a thread.
pub(super) struct Job {
    pub(super) task: Task,
    /// The moment from which on the caller waits no longer.
    pub(super) until: Option<Instant>,
    pub(super) queued_at: Instant,
    /// The span of the wait and the work.
    pub(super) span: Child,
}

pub(super) enum Task {
    Hash(Password, Option<Arc<Pepper>>, oneshot::Sender<Result<PasswordHash, Error>>),
    Verify(Password, PasswordHash, Option<Arc<Pepper>>, oneshot::Sender<Result<Verdict, Error>>),
}

impl Job {
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.task {
            Task::Hash(_, _, reply) => reply.is_closed(),
            Task::Verify(_, _, _, reply) => reply.is_closed(),
        }
    }

    pub(super) fn refuse(mut self, retry_after: Duration) {
        self.span.fail("overloaded");
        let error = Error::Overloaded { retry_after };
        match self.task {
            Task::Hash(_, _, reply) => drop(reply.send(Err(error))),
            Task::Verify(_, _, _, reply) => drop(reply.send(Err(error))),
        }
    }
}
