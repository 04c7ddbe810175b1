//! Running a transaction again when the database asks for it.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use tokio::time::sleep;

use crate::error::Error;

/// The most times that a transaction is run; the pauses between are 0.4 seconds together.
const RUNS: u32 = 5;

/// Runs a transaction again when the database asks for it (SQLSTATE 40001, 40P01, 55P03, XX000), `RUNS` times at most.
///
/// # Errors
/// Those of the transaction: [`Error::Conflict`] after the last run.
pub async fn retrying<T, F>(transaction: impl Fn() -> F) -> Result<T, Error>
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
    // No secret: the seeds of hash maps are random enough.
    let [random, ..] = RandomState::new().hash_one(run).to_be_bytes();
    longest / 2 + longest / 2 * u32::from(random) / 255
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
            let pauses: Vec<Duration> = (0..100).map(|_| pause_after(run)).collect();
            assert!(pauses.iter().all(|pause| (longest / 2..=longest).contains(pause)));
            assert!(pauses.windows(2).any(|two| two[0] != two[1]));
        }
    }
}
