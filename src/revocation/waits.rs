//! The rows of the log whose confirmation is waited for.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::domain::revocation::Position;

/// The rows that are waited for, and by how many.
#[derive(Debug, Default)]
pub(super) struct Waits {
    rows: Mutex<HashMap<Position, usize>>,
    asked: Notify,
}

impl Waits {
    /// Waits for a row as long as this lives.
    pub(super) fn begin(&self, row: Position) -> Wait<'_> {
        *self.lock().entry(row).or_default() += 1;
        self.asked.notify_one();
        Wait { waits: self, row }
    }

    /// The rows that are waited for.
    pub(super) fn rows(&self) -> Vec<Position> {
        self.lock().keys().copied().collect()
    }

    /// True if nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns when somebody has begun to wait.
    pub(super) async fn begun(&self) {
        self.asked.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Position, usize>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A wait for a row.
pub(super) struct Wait<'w> {
    waits: &'w Waits,
    row: Position,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut rows = self.waits.lock();
        let left = rows.get_mut(&self.row).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left == 0 {
            rows.remove(&self.row);
        }
    }
}
