//! Connections that are not used any more, because what they lead to is not what we want to talk to. Another server is
//! the primary now, or the address leads elsewhere. Each remembers when it began to connect, not when it was connected.
//! One that was under way while all were retired may have come out at the old place.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// The moment at which all connections were retired last.
#[derive(Clone, Debug)]
pub(super) struct Retirement(watch::Sender<Option<Instant>>);

impl Retirement {
    /// Nothing has been retired yet.
    pub(super) fn none() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Retires all connections that have begun to connect.
    pub(super) fn retire(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Retires them unless that was done so short a time ago.
    pub(super) fn retire_unless_within(&self, time: Duration) {
        self.0.send_if_modified(|at| {
            let due = at.is_none_or(|at| at.elapsed() > time);
            if due {
                *at = Some(Instant::now());
            }
            due
        });
    }

    /// The generation of a connection that begins to connect now.
    pub(super) fn begin(&self) -> Generation {
        Generation(self.0.subscribe())
    }

    /// True if a connection of the pool that is so old was made after all were retired.
    pub(super) fn spares(&self, age: Duration) -> bool {
        self.0.borrow().is_none_or(|at| age < at.elapsed())
    }
}

/// A connection's part: whether all were retired since it began to connect.
#[derive(Clone, Debug)]
pub(super) struct Generation(watch::Receiver<Option<Instant>>);

impl Generation {
    pub(super) fn is_retired(&self) -> bool {
        self.0.has_changed().unwrap_or(false)
    }

    /// Waits until the generation is retired.
    pub(super) async fn retired(&self) {
        // Of a receiver of its own: what was seen there is not seen here.
        if self.0.clone().changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_began_before_is_retired_and_what_begins_after_is_not() {
        let retirement = Retirement::none();
        let before = retirement.begin();
        assert!(!before.is_retired() && retirement.spares(Duration::from_secs(3600)));
        retirement.retire();
        assert!(before.is_retired() && !retirement.spares(Duration::from_secs(3600)));
        before.retired().await;
        assert!(before.is_retired(), "it stays so");
        assert!(!retirement.begin().is_retired());
        assert!(retirement.spares(Duration::ZERO), "made after that");
        let after = retirement.begin();
        retirement.retire_unless_within(Duration::from_secs(3600));
        assert!(!after.is_retired());
        retirement.retire_unless_within(Duration::ZERO);
        assert!(after.is_retired());
    }
}
