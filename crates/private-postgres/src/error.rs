//! Errors that keep a private cluster from running. Each message is one line that says what to do, because `countersign
//! dev` prints it as it is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

const NOT_INSTALLED: &str = "found no Postgres: install it with `apt-get install postgresql` \
    (Debian, Ubuntu), `dnf install postgresql-server` (Fedora) or `brew install postgresql@17` (macOS)";

const NO_ACCOUNT: &str = "Postgres refuses to run as root, and /etc/passwd has no user postgres or \
    nobody: run this as an ordinary user";

/// Reasons for which a cluster could not be started or stopped.
#[derive(Debug)]
pub enum LaunchError {
    /// No directory with `initdb`, `postgres` and `pg_ctl` was found.
    NotInstalled,
    /// Neither `postgres` nor `nobody` is in `/etc/passwd`, and Postgres refuses root.
    NoAccount,
    /// `dir` cannot be used, or not now.
    Refused { dir: PathBuf, refusal: Refusal },
    /// The user that runs Postgres for root cannot enter a directory on the way.
    Closed { parent: PathBuf, user: String },
    /// The data was written by another major version than any that is installed.
    OtherVersion { dir: PathBuf, data: u32, installed: u32 },
    /// A Postgres program failed; `detail` is what it said last.
    Failed { program: &'static str, detail: String },
    /// Postgres ended, or was not ready in time; `detail` holds the last lines of its log.
    NotReady { problem: &'static str, detail: String, log: PathBuf },
    /// Postgres survived every signal.
    Unstoppable { pid: i32 },
    /// The system refused an operation on `path`.
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// Defects of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another live process owns the directory.
    Busy,
    /// A process that a dead owner left behind is still at work in the directory.
    StillStopping,
    /// The directory belongs to another user, or everybody can write to it.
    NotPrivate,
    /// A throwaway cluster was asked for where something else is.
    NotEmpty,
    /// The throwaway cluster in it has stopped, so nothing is left to restart.
    Gone,
    /// The place of the socket is taken by something that is not ours.
    SocketTaken,
}

impl LaunchError {
    /// Makes an error for `map_err` that names what was tried and on what.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn refused(dir: &Path, refusal: Refusal) -> Self {
        let dir = dir.to_owned();
        Self::Refused { dir, refusal }
    }
}

impl Refusal {
    /// The words before the directory in the message, and what to do about it.
    fn words(self) -> (&'static str, &'static str) {
        const ANOTHER: &str = "choose another directory";
        match self {
            Self::Busy => ("another countersign is running on", "stop it or choose another directory"),
            Self::StillStopping => ("an earlier Postgres is still stopping on", "try again in a minute"),
            Self::NotPrivate => ("another user owns or may write to", ANOTHER),
            Self::NotEmpty => ("a throwaway cluster would delete what is in", ANOTHER),
            Self::Gone => ("the throwaway cluster has deleted", "start a new one"),
            Self::SocketTaken => ("somebody else made the socket's directory", "remove it"),
        }
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str(NOT_INSTALLED),
            Self::NoAccount => f.write_str(NO_ACCOUNT),
            Self::Refused { dir, refusal } => {
                let (problem, advice) = refusal.words();
                write!(f, "{problem} {}: {advice}", dir.display())
            }
            Self::Closed { parent, user } => write!(
                f,
                "the user {user}, who runs Postgres because you are root, cannot enter {}: \
                 choose a directory that is not below it",
                parent.display()
            ),
            Self::OtherVersion { dir, data, installed } => write!(
                f,
                "{} holds data of Postgres {data}, but Postgres {installed} is installed: \
                 install Postgres {data} or choose another directory",
                dir.display()
            ),
            Self::Failed { program, detail } => write!(f, "{program} failed: {detail}"),
            Self::NotReady { problem, detail, log } => {
                write!(f, "Postgres {problem}: {detail} (see {})", log.display())
            }
            Self::Unstoppable { pid } => {
                write!(f, "Postgres (process {pid}) does not stop: end it by hand")
            }
            Self::Io { action, path, source } => {
                write!(f, "cannot {action} {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for LaunchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
