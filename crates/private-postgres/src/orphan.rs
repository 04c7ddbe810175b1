//! A Postgres that outlived both its owner and its watchdog, and the files of one that did not.
//!
//! Runs with the directory's lock held and no helper at work, so whatever runs on the data is nobody's.
//! `postmaster.pid` alone proves nothing: after a reboot, or in a new container, its pid belongs to an unrelated
//! process. That process must not be harmed, and must not block the start either.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::directory::{Directory, remove_tree, socket_file};
use super::error::LaunchError;
use super::find::Binaries;
use super::process::{command, last_lines};

/// Stops a Postgres that still runs on the data and removes what would keep a new one from starting.
pub(super) fn stop(directory: &Directory, binaries: &Binaries) -> Result<(), LaunchError> {
    let pid_file = directory.data().join("postmaster.pid");
    if let Some(pid) = live_pid(&pid_file) {
        if is_postmaster(pid, directory) {
            tracing::warn!(%pid, "stopping a Postgres that an earlier run left behind");
            pg_ctl_stop(directory, binaries)?;
        } else {
            remove_tree(&pid_file)?;
        }
    }
    // The lock beside the socket holds a pid too, and Postgres would trust it as blindly.
    let socket = socket_file(directory.socket());
    remove_tree(&socket.with_added_extension("lock"))?;
    remove_tree(&socket)
}

/// The process that the file names, if there is one. A file that names none is left to Postgres,
/// which checks for surviving children of the dead server before it takes over.
fn live_pid(pid_file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(pid_file).ok()?;
    let first = text.lines().next()?.trim().parse().ok();
    let pid = Pid::from_raw(first.filter(|pid| *pid > 0)?)?;
    match test_kill_process(pid) {
        Ok(()) | Err(Errno::PERM) => Some(pid),
        Err(_) => None,
    }
}

fn is_postmaster(pid: Pid, directory: &Directory) -> bool {
    let data = directory.data();
    command_line(pid).is_some_and(|line| runs_on(&line, &data))
        // Postgres works in its data directory; the link is readable for few, and on Linux only.
        || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)
        || UnixStream::connect(socket_file(directory.socket())).is_ok()
}

fn command_line(pid: Pid) -> Option<String> {
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        return Some(String::from_utf8_lossy(&line).replace('\0', " "));
    }
    let pid = pid.to_string();
    let mut ps = Command::new("ps");
    let output = ps.args(["-ww", "-o", "command=", "-p", &pid]).output().ok()?;
    let line = String::from_utf8_lossy(&output.stdout);
    Some(format!("{} ", line.trim_end()))
}

/// `.../postgres -D DATA ...`, the form in which this module and pg_ctl start it.
fn runs_on(command_line: &str, data: &Path) -> bool {
    command_line.contains(&format!("/postgres -D {} ", data.display()))
}

fn pg_ctl_stop(directory: &Directory, binaries: &Binaries) -> Result<(), LaunchError> {
    let program = binaries.program("pg_ctl");
    let mut pg_ctl = command(&program, directory);
    pg_ctl.args(["stop", "-m", "fast", "-w", "-t", "60", "-D"]).arg(directory.data());
    let output = pg_ctl.stderr(Stdio::piped()).output();
    let output = output.map_err(LaunchError::io("run", &program))?;
    // It fails as well when the server ended before it was asked to.
    if output.status.success() || live_pid(&directory.data().join("postmaster.pid")).is_none() {
        return Ok(());
    }
    Err(LaunchError::Failed { program: "pg_ctl stop", detail: last_lines(&output.stderr) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_postgres_of_the_same_data_counts() {
        let data = Path::new("/d/postgres");
        let table = [
            ("/usr/lib/postgresql/17/bin/postgres -D /d/postgres -c port=5432 ", true),
            ("/usr/lib/postgresql/17/bin/postgres -D /d/postgres ", true),
            ("/usr/lib/postgresql/17/bin/postgres -D /d/postgres2 ", false),
            ("postgres: 17/main: checkpointer ", false),
            ("tail -f /d/postgres.log ", false),
            ("", false),
        ];
        for (line, expected) in table {
            assert_eq!(runs_on(line, data), expected, "{line}");
        }
    }
}
