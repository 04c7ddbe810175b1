//! A private Postgres cluster with one owner.
//!
//! ```text
//! start --> running --crash--> down --restart--> running
//!              |                 |
//!              +------stop-------+--> stopped (a throwaway directory is deleted)
//! ```

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::directory::{Directory, PORT};
use super::durability::Durability;
use super::error::{LaunchError, Refusal};
use super::find::Binaries;
use super::initdb::{self, NAME};
use super::orphan;
use super::postmaster::{Postmaster, Shutdown};

/// A running cluster with the user and the database `countersign`. Dropping it stops Postgres.
#[derive(Debug)]
pub struct Cluster {
    directory: Directory,
    binaries: Binaries,
    durability: Durability,
    postmaster: Option<Postmaster>,
    /// `stop` has done its work. A second one must not delete what somebody has put there since.
    stopped: bool,
}

impl Cluster {
    /// Starts Postgres on the data below `dir`, which is created at first.
    ///
    /// A throwaway cluster wants a directory that is new or empty. Blocks for seconds at first, less
    /// later, and up to a minute more while the Postgres of an owner that was killed ends.
    pub fn start(dir: &Path, durability: Durability) -> Result<Self, LaunchError> {
        let newest = Binaries::find()?;
        let directory = Directory::claim(dir, durability)?;
        let binaries = initdb::choose_binaries(newest, &directory)?;
        let postmaster = None;
        let mut cluster = Self { directory, binaries, durability, postmaster, stopped: false };
        initdb::ensure_data(&cluster.directory, &cluster.binaries, durability)?;
        cluster.launch()?;
        Ok(cluster)
    }

    /// The URL by which sqlx and psql connect to `database` as the superuser of this cluster.
    pub fn url(&self, database: &str) -> String {
        // Port and sslmode are in it because both would take them from PGPORT and PGSSLMODE.
        let mut url = format!("postgres://{NAME}@localhost:{PORT}/");
        percent_encode(&mut url, database.as_bytes());
        url.push_str("?host=");
        percent_encode(&mut url, self.directory.socket().as_os_str().as_bytes());
        url.push_str("&sslmode=disable");
        url
    }

    /// Ends Postgres cleanly and waits for it; a throwaway directory is deleted. May be repeated.
    pub fn stop(&mut self) -> Result<(), LaunchError> {
        if self.stopped {
            return Ok(());
        }
        self.halt(Shutdown::Fast)?;
        self.stopped = true;
        match self.durability {
            Durability::Durable => {
                self.directory.remove_socket();
                Ok(())
            }
            Durability::Throwaway => self.directory.remove(),
        }
    }

    /// Ends Postgres as a crash would, for tests of an outage; `restart` ends the outage.
    pub fn crash(&mut self) -> Result<(), LaunchError> {
        self.halt(Shutdown::Immediate)
    }

    /// Starts Postgres again on the same data, after ending it cleanly if it runs. The URL stays.
    pub fn restart(&mut self) -> Result<(), LaunchError> {
        if self.stopped && self.durability == Durability::Throwaway {
            return Err(LaunchError::refused(self.directory.path(), Refusal::Gone));
        }
        self.halt(Shutdown::Fast)?;
        self.launch()
    }

    fn halt(&mut self, shutdown: Shutdown) -> Result<(), LaunchError> {
        if let Some(postmaster) = &mut self.postmaster {
            postmaster.stop(shutdown)?;
        }
        self.postmaster = None;
        Ok(())
    }

    fn launch(&mut self) -> Result<(), LaunchError> {
        self.directory.create_private(self.directory.socket())?;
        orphan::stop(&self.directory, &self.binaries)?;
        let postmaster = Postmaster::start(&self.directory, &self.binaries, self.durability)?;
        self.postmaster = Some(postmaster);
        self.stopped = false;
        tracing::debug!(dir = %self.directory.path().display(), "Postgres accepts connections");
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn ids(&self) -> Option<(u32, u32)> {
        self.postmaster.as_ref().map(Postmaster::ids)
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> &Path {
        self.directory.socket()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, "could not stop Postgres");
        }
    }
}

/// Leaves what RFC 3986 calls unreserved, and the slash, which a query may hold as it is.
fn percent_encode(url: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(char::from(*byte));
            }
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
}
