//! Turns of the batches of VerifyBatch: how many verify signatures at once, and how many wait.

use std::{thread::available_parallelism, time::Duration};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Error;

/// The most batches that wait for their turn.
const WAITING: usize = 64;

/// Turns of batches.
#[derive(Debug)]
pub(super) struct BatchTurns {
    turns: Semaphore,
    waiting: Semaphore,
}

impl BatchTurns {
    /// Turns on this machine: half of its cores are left to other calls.
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { turns: Semaphore::new((cores / 2).max(1)), waiting: Semaphore::new(WAITING) }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub(super) async fn take(&self) -> Result<SemaphorePermit<'_>, Error> {
        let overloaded = |_| Error::Overloaded { retry_after: Duration::from_secs(1) };
        let _waiting = self.waiting.try_acquire().map_err(overloaded)?;
        self.turns.acquire().await.map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn few_have_their_turn_and_not_all_may_wait() {
        let turns = Arc::new(BatchTurns::new());
        let mut held = Vec::new();
        while turns.turns.available_permits() > 0 {
            held.push(turns.take().await.expect("a turn"));
        }
        assert!(held.len() <= available_parallelism().map_or(1, usize::from));
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { turns.take().await.map(drop) })
            })
            .collect();
        while turns.waiting.available_permits() > 0 {
            yield_now().await;
        }
        assert!(matches!(turns.take().await, Err(Error::Overloaded { .. })));
        drop(held);
        for turn in waiting {
            turn.await.expect("joined").expect("its turn came");
        }
        drop(turns.take().await.expect("nobody waits"));
    }
}
