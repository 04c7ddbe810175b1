//! The directory of a cluster: its layout, its one owner, and who may enter what.
//!
//! ```text
//! DIR/               0711, the caller's; callers keep private files (0600) here
//!   lock             see locks.rs
//!   helpers.lock
//!   throwaway        present if the directory is to be deleted
//!   postgres.log
//!   postgres/        0700, Postgres's user: the data
//!   socket/          0700, Postgres's user; below /tmp when the path does not do for a socket
//! ```

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::account::Account;
use super::durability::Durability;
use super::error::{LaunchError, Refusal};
use super::locks::{HELPERS_LOCK, LOCK, Locks};

/// Postgres names its socket after its port, so the port is fixed although nothing listens on TCP.
pub(super) const PORT: u16 = 5432;

/// `sun_path` has 108 bytes on Linux, 104 on macOS.
const SOCKET_PATH_MAX: usize = 100;

const THROWAWAY: &str = "throwaway";

/// A directory that this process owns, exclusively, until the value is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    socket: PathBuf,
    account: Option<Account>,
    locks: Locks,
}

impl Directory {
    /// Creates the directory if need be, takes it, and waits for what a dead owner left at work.
    pub(crate) fn claim(dir: &Path, durability: Durability) -> Result<Self, LaunchError> {
        let path = prepare(dir, durability)?;
        let account = Account::for_postgres()?;
        if let Some(account) = &account {
            account.check_can_enter(&path)?;
        }
        let Some(locks) = Locks::take(&path)? else {
            // Deleted by a throwaway owner or its watchdog, which are gone now.
            return Self::claim(dir, durability);
        };
        clear_throwaway(&path)?;
        if durability == Durability::Throwaway {
            let mark = path.join(THROWAWAY);
            fs::write(&mark, "").map_err(LaunchError::io("write", &mark))?;
        }
        let socket = socket_directory(&path);
        Ok(Self { path, socket, account, locks })
    }

    /// Absolute, with all links resolved.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("postgres")
    }

    /// The directory in which initdb works: it becomes `data` only when it is complete.
    pub(crate) fn unfinished_data(&self) -> PathBuf {
        self.path.join("postgres.new")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("postgres.log")
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// A second handle on the helpers' lock, for a helper to inherit.
    pub(crate) fn helpers_lock(&self) -> Result<File, LaunchError> {
        let path = self.path.join(HELPERS_LOCK);
        self.locks.helpers().map_err(LaunchError::io("share", &path))
    }

    /// Makes sure of a directory of mode 0700 that belongs to Postgres's user.
    pub(crate) fn create_private(&self, path: &Path) -> Result<(), LaunchError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(LaunchError::io("create", path)(e));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(path).map_err(LaunchError::io("open", path))?;
        let user = self.account.as_ref().map_or(geteuid().as_raw(), |a| a.uid);
        let ours = found.uid() == user || found.uid() == geteuid().as_raw();
        if !found.is_dir() || !ours || found.mode() & 0o077 != 0 {
            return Err(LaunchError::refused(path, Refusal::SocketTaken));
        }
        let Some(account) = &self.account else {
            return Ok(());
        };
        // Not chown: below /tmp the name could have become a link to something of root's.
        lchown(path, Some(account.uid), Some(account.gid)).map_err(LaunchError::io("change the owner of", path))
    }

    /// Removes the socket's directory if it is outside; it is empty once Postgres has stopped.
    pub(crate) fn remove_socket(&self) {
        if !self.socket.starts_with(&self.path) {
            let _ = fs::remove_dir(&self.socket);
        }
    }

    /// Deletes everything, the helpers' lock last. As long as its name exists, the next owner waits for us; when it
    /// does not, we touch nothing any more.
    pub(crate) fn remove(&self) -> Result<(), LaunchError> {
        self.remove_socket();
        empty(&self.path, &[HELPERS_LOCK])?;
        remove_tree(&self.path.join(HELPERS_LOCK))?;
        match fs::remove_dir(&self.path) {
            Err(e) if e.kind() != ErrorKind::DirectoryNotEmpty => Err(LaunchError::io("remove", &self.path)(e)),
            _ => Ok(()),
        }
    }
}

/// The directory with its links resolved, its owner checked, and open for passing through.
fn prepare(dir: &Path, durability: Durability) -> Result<PathBuf, LaunchError> {
    fs::create_dir_all(dir).map_err(LaunchError::io("create", dir))?;
    let path = fs::canonicalize(dir).map_err(LaunchError::io("open", dir))?;
    let found = fs::metadata(&path).map_err(LaunchError::io("open", &path))?;
    // Whoever else can write here could make root follow a link; /tmp itself is such a directory.
    if found.uid() != geteuid().as_raw() || found.mode() & 0o002 != 0 {
        return Err(LaunchError::refused(&path, Refusal::NotPrivate));
    }
    if durability == Durability::Throwaway {
        check_disposable(&path)?;
    }
    fs::set_permissions(&path, Permissions::from_mode(0o711)).map_err(LaunchError::io("set the mode of", &path))?;
    Ok(path)
}

/// Checks that a directory which will be deleted is new, or was left by an earlier throwaway cluster.
fn check_disposable(path: &Path) -> Result<(), LaunchError> {
    if path.join(THROWAWAY).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(LaunchError::io("read", path))? {
        let entry = entry.map_err(LaunchError::io("read", path))?;
        if entry.file_name() != LOCK && entry.file_name() != HELPERS_LOCK {
            return Err(LaunchError::refused(path, Refusal::NotEmpty));
        }
    }
    Ok(())
}

/// Removes what a throwaway cluster left when its owner was killed: the watchdog, unprivileged,
/// could only empty what was its own. The mark goes last, so that this can be interrupted.
fn clear_throwaway(path: &Path) -> Result<(), LaunchError> {
    let mark = path.join(THROWAWAY);
    if !mark.exists() {
        return Ok(());
    }
    empty(path, &[LOCK, HELPERS_LOCK, THROWAWAY])?;
    remove_tree(&mark)
}

fn empty(path: &Path, kept: &[&str]) -> Result<(), LaunchError> {
    for entry in fs::read_dir(path).map_err(LaunchError::io("read", path))? {
        let entry = entry.map_err(LaunchError::io("read", path))?;
        if !kept.iter().any(|name| entry.file_name() == *name) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

pub(super) fn remove_tree(path: &Path) -> Result<(), LaunchError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(LaunchError::io("remove", path)(e)),
        _ => Ok(()),
    }
}

pub(super) fn socket_file(directory: &Path) -> PathBuf {
    directory.join(format!(".s.PGSQL.{PORT}"))
}

fn socket_directory(path: &Path) -> PathBuf {
    let inside = path.join("socket");
    let fits = socket_file(&inside).as_os_str().len() <= SOCKET_PATH_MAX;
    // Postgres and libpq read a list of paths, and sqlx a path that is text.
    let listable = inside.to_str().is_some_and(|text| !text.contains([',', '"']));
    if fits && listable {
        return inside;
    }
    let hash = fnv1a(path.as_os_str().as_bytes());
    PathBuf::from(format!("/tmp/countersign-{hash:016x}"))
}

/// FNV-1a: std's hasher may change between releases, and the name must not.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
