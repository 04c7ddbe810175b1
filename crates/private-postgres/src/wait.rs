//! Waiting for what nothing tells of: a lock, a file, the end of a process.

use std::thread;
use std::time::Duration;

use super::error::LaunchError;

const POLL: Duration = Duration::from_millis(10);

/// Asks `check` until it answers, about once in 10 ms; `None` when `limit` has passed.
///
/// Counts its naps instead of reading a clock: a slow check only makes it more patient.
pub(super) fn wait_for<T>(
    limit: Duration,
    mut check: impl FnMut() -> Result<Option<T>, LaunchError>,
) -> Result<Option<T>, LaunchError> {
    let naps = limit.as_millis() / POLL.as_millis();
    for _ in 0..naps {
        if let Some(answer) = check()? {
            return Ok(Some(answer));
        }
        thread::sleep(POLL);
    }
    check()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_answer_or_with_the_limit() {
        let mut asked = 0;
        let answer = wait_for(Duration::from_secs(1), || {
            asked += 1;
            Ok((asked == 3).then_some("ready"))
        });
        assert_eq!(answer.unwrap(), Some("ready"));
        assert_eq!(wait_for(Duration::ZERO, || Ok(None::<()>)).unwrap(), None);
    }
}
