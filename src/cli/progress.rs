//! The progress of long commands, for people who wait: one line on standard error that is written again and again where that is
//! a terminal. Elsewhere a line of the log each ten seconds.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// Time between two states of the line.
const REDRAW: Duration = Duration::from_millis(200);
/// Time between two lines of the log.
const LOG: Duration = Duration::from_secs(10);

/// The progress of a command.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: Option<u64>,
    is_terminal: bool,
    begun: Instant,
    told: Instant,
    /// True while the line stands on the terminal.
    stands: bool,
}

impl Progress {
    /// Progress of this kind, such as "rows imported", of so many if that is known.
    pub fn of(what: &'static str, total: Option<u64>) -> Self {
        let now = Instant::now();
        Self { what, total, is_terminal: io::stderr().is_terminal(), begun: now, told: now, stands: false }
    }

    /// Notes how many are done, and tells it if it is time.
    pub fn at(&mut self, done: u64) {
        self.tell(Some(done));
    }

    /// Carries out work that says nothing of how far it is, and tells how long it takes.
    pub async fn beside<T>(mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(REDRAW) => self.tell(None),
            }
        }
    }

    /// Takes the line away, so that another can be written there.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.stands) {
            show("\r\x1b[K");
        }
    }

    fn tell(&mut self, done: Option<u64>) {
        if !self.is_due(Instant::now()) {
            return;
        }
        let text = self.text(done);
        if self.is_terminal {
            show(&format!("\r{text}\x1b[K"));
            self.stands = true;
        } else {
            tracing::info!("{text}");
        }
    }

    /// True once in a while.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now - self.told >= if self.is_terminal { REDRAW } else { LOG };
        if is_due {
            self.told = now;
        }
        is_due
    }

    fn text(&self, done: Option<u64>) -> String {
        let (what, seconds) = (self.what, self.begun.elapsed().as_secs());
        match (done, self.total) {
            (Some(done), Some(total)) => {
                format!("{done} of {total} {what} ({} %), {seconds} s", done * 100 / total.max(1))
            }
            (Some(done), None) => format!("{done} {what}, {seconds} s"),
            (None, _) => format!("{what}, {seconds} s"),
        }
    }
}

/// No line is left behind.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn show(text: &str) {
    // Nobody is left to tell when standard error is closed.
    drop(io::stderr().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(is_terminal: bool, total: Option<u64>) -> Progress {
        Progress { is_terminal, ..Progress::of("rows imported", total) }
    }

    #[tokio::test]
    async fn a_terminal_is_told_often_and_a_log_seldom() {
        for (is_terminal, expected) in [(true, 150), (false, 3)] {
            let mut progress = progress(is_terminal, None);
            let begun = progress.begun;
            let moments = (0..=30_000).map(|millis| begun + Duration::from_millis(millis));
            assert_eq!(moments.filter(|now| progress.is_due(*now)).count(), expected);
        }
    }

    #[tokio::test]
    async fn a_line_says_how_many_are_done_of_how_many_and_since_when() {
        assert_eq!(progress(false, None).text(Some(7)), "7 rows imported, 0 s");
        assert_eq!(progress(false, Some(200)).text(Some(50)), "50 of 200 rows imported (25 %), 0 s");
        let mut progress = progress(false, None);
        progress.begun -= Duration::from_secs(61);
        assert_eq!(progress.text(None), "rows imported, 61 s");
        let worked = progress.beside(std::future::ready(7)).await;
        assert_eq!(worked, 7);
    }
}
