//! The two locks (flock) on a cluster's directory. The system releases them when the last process
//! that holds them has died, so neither can be stale.
//!
//! `lock` is held by the owner alone, for the life of its Cluster; a second owner is refused.
//! `helpers.lock` is shared by the owner and the helpers that it hands it to (initdb, the watchdog).
//! They may outlive an owner that is killed, and the next one waits for them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::error::{LaunchError, Refusal};
use super::wait::wait_for;

pub(super) const LOCK: &str = "lock";
pub(super) const HELPERS_LOCK: &str = "helpers.lock";

/// Longer than the watchdog takes at most, see watchdog.rs.
const HELPERS_LIMIT: Duration = Duration::from_secs(75);

/// Both locks, held.
#[derive(Debug)]
pub(super) struct Locks {
    lock: File,
    helpers: File,
}

impl Locks {
    /// Takes both, waiting for the helpers of a dead owner. `None` if a throwaway owner that was
    /// just ending, or its watchdog, has deleted the files meanwhile.
    pub(crate) fn take(dir: &Path) -> Result<Option<Self>, LaunchError> {
        let lock = open(&dir.join(LOCK))?;
        if !try_lock(&lock, dir)? {
            return Err(LaunchError::refused(dir, Refusal::Busy));
        }
        let helpers = open(&dir.join(HELPERS_LOCK))?;
        let locks = Self { lock, helpers };
        let free = wait_for(HELPERS_LIMIT, || Ok(try_lock(&locks.helpers, dir)?.then_some(())))?;
        if free.is_none() {
            return Err(LaunchError::refused(dir, Refusal::StillStopping));
        }
        let current = is_at(&locks.lock, &dir.join(LOCK)) && is_at(&locks.helpers, &dir.join(HELPERS_LOCK));
        Ok(current.then_some(locks))
    }

    /// A second handle on the helpers' lock, which lasts until the last handle is closed.
    pub(crate) fn helpers(&self) -> io::Result<File> {
        self.helpers.try_clone()
    }
}

impl Drop for Locks {
    /// Unlocks explicitly. A child that another thread is just starting holds copies of our descriptors until its exec.
    /// Closing ours alone would leave the locks to it.
    fn drop(&mut self) {
        let _ = self.helpers.unlock();
        let _ = self.lock.unlock();
    }
}

/// std opens with O_CLOEXEC, so no child inherits a lock unless it is handed over.
fn open(path: &Path) -> Result<File, LaunchError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(path).map_err(LaunchError::io("open", path))
}

fn try_lock(file: &File, dir: &Path) -> Result<bool, LaunchError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(LaunchError::io("lock", dir)(e)),
    }
}

/// True if the open file is still the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}
