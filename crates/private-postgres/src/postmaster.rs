//! One run of the Postgres server: started as a child, watched until it accepts connections,
//! stopped with ever stronger signals.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::directory::{Directory, PORT};
use super::durability::Durability;
use super::error::LaunchError;
use super::find::Binaries;
use super::process::{command, last_lines};
use super::wait::wait_for;
use super::watchdog::Watchdog;

const READY_LIMIT: Duration = Duration::from_secs(30);

/// A log above this size starts again from nothing.
const LOG_MAX: u64 = 8 << 20;

/// Ways of asking Postgres to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// Ends sessions, writes everything out.
    Fast,
    /// Ends as in a crash; the next start recovers from the log.
    Immediate,
}

impl Shutdown {
    fn signals(self) -> &'static [(Signal, Duration)] {
        const SIGNALS: [(Signal, Duration); 3] = [
            (Signal::INT, Duration::from_secs(30)),
            (Signal::QUIT, Duration::from_secs(10)),
            (Signal::KILL, Duration::from_secs(5)),
        ];
        match self {
            Self::Fast => &SIGNALS,
            Self::Immediate => SIGNALS.split_at(1).1,
        }
    }
}

/// A Postgres server process and its watchdog. Dropped while running, it stops immediately.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    watchdog: Watchdog,
}

impl Postmaster {
    /// Starts Postgres and waits until it accepts connections.
    pub(crate) fn start(
        directory: &Directory,
        binaries: &Binaries,
        durability: Durability,
    ) -> Result<Self, LaunchError> {
        let (log, log_start) = open_log(&directory.log())?;
        let copy = log.try_clone().map_err(LaunchError::io("open", &directory.log()))?;
        let program = binaries.program("postgres");
        let watchdog = Watchdog::spawn(directory, durability)?;
        let child = command(&program, directory)
            // First, and in this form: orphan.rs knows our processes by it.
            .arg("-D")
            .arg(directory.data())
            .args(settings(directory.socket()))
            .args(durability.settings())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(LaunchError::io("run", &program))?;
        let mut postmaster = Self { child, watchdog };
        postmaster.watchdog.guard(postmaster.child.id())?;
        postmaster.wait_until_ready(directory, log_start)?;
        Ok(postmaster)
    }

    fn wait_until_ready(&mut self, directory: &Directory, log_start: u64) -> Result<(), LaunchError> {
        let pid_file = directory.data().join("postmaster.pid");
        let pid = self.child.id();
        let ended = wait_for(READY_LIMIT, || {
            let ready = fs::read_to_string(&pid_file).is_ok_and(|text| is_ready(&text, pid));
            Ok(if ready { Some(false) } else { self.has_ended()?.then_some(true) })
        })?;
        let problem = match ended {
            Some(false) => return Ok(()),
            Some(true) => "did not start",
            None => "was not ready after 30 seconds",
        };
        let detail = last_lines(&read_from(&directory.log(), log_start));
        Err(LaunchError::NotReady { problem, detail, log: directory.log() })
    }

    /// Ends Postgres and waits for it; one that has ended already is fine.
    pub(crate) fn stop(&mut self, shutdown: Shutdown) -> Result<(), LaunchError> {
        for (signal, limit) in shutdown.signals() {
            if self.has_ended()? {
                return Ok(());
            }
            tracing::debug!(pid = self.child.id(), ?signal, "stopping Postgres");
            // Not reaped yet, so the pid is still our child's; a failure shows as "has not ended".
            let _ = kill_process(Pid::from_child(&self.child), *signal);
            let ended = wait_for(*limit, || Ok(self.has_ended()?.then_some(())))?;
            if ended.is_some() {
                return Ok(());
            }
        }
        let pid = Pid::from_child(&self.child).as_raw_pid();
        Err(LaunchError::Unstoppable { pid })
    }

    fn has_ended(&mut self) -> Result<bool, LaunchError> {
        let status = self.child.try_wait();
        let status = status.map_err(LaunchError::io("wait for", Path::new("Postgres")))?;
        Ok(status.is_some())
    }

    #[cfg(test)]
    pub(crate) fn ids(&self) -> (u32, u32) {
        (self.child.id(), self.watchdog.id())
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if let Err(error) = self.stop(Shutdown::Immediate) {
            tracing::warn!(%error, "Postgres was left running");
        }
    }
}

/// Given as arguments, which win over every file in the data directory.
fn settings(socket: &Path) -> Vec<OsString> {
    // The value is a list of paths; directory.rs sees to it that this one can stand in it as it is.
    let mut sockets = OsString::from("unix_socket_directories=");
    sockets.push(socket);
    let fixed = [
        "listen_addresses=".to_owned(),
        format!("port={PORT}"),
        "max_connections=200".to_owned(),
        "shared_buffers=64MB".to_owned(),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
    ];
    let all = fixed.into_iter().map(OsString::from).chain([sockets]);
    all.flat_map(|setting| ["-c".into(), setting]).collect()
}

/// Line 1 is the pid, line 8 the status. Older content may be there until Postgres has replaced it.
fn is_ready(pid_file: &str, pid: u32) -> bool {
    let mut lines = pid_file.lines().map(str::trim);
    lines.next() == Some(pid.to_string().as_str()) && lines.nth(6) == Some("ready")
}

/// The log, open for appending, and where this run begins in it.
fn open_log(path: &Path) -> Result<(File, u64), LaunchError> {
    let open = || -> std::io::Result<(File, u64)> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        if log.metadata()?.len() > LOG_MAX {
            log.set_len(0)?;
        }
        let start = log.metadata()?.len();
        Ok((log, start))
    };
    open().map_err(LaunchError::io("open", path))
}

fn read_from(path: &Path, start: u64) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(mut log) = File::open(path) {
        let _ = log.seek(SeekFrom::Start(start));
        let _ = log.read_to_end(&mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_tells_when_postgres_is_ready() {
        let file = |status: &str| format!("42\n/d\n1\n5432\n/s\n\n  1 2\n{status}\n");
        assert!(is_ready(&file("ready   "), 42));
        assert!(!is_ready(&file("ready   "), 43), "left by another process");
        assert!(!is_ready(&file("starting"), 42));
        assert!(!is_ready("42\n/d\n", 42));
    }
}
