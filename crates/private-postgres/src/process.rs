//! The programs of a cluster as processes. They run as the unprivileged user, in a process group of their own so that
//! Ctrl-C in the terminal reaches countersign alone. Their environment is minimal, so that neither a PG* variable nor a
//! secret of ours gets into Postgres.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::directory::Directory;

/// Variables that a program may need in order to run at all.
const KEPT: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// A program that will run for `directory`, with nothing attached to it yet.
pub(super) fn command(program: impl AsRef<OsStr>, directory: &Directory) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(KEPT.iter().filter_map(|name| Some((name, env::var_os(name)?))))
        // Messages that code reads stay in English, and macOS needs a locale to start Postgres.
        .env("LC_ALL", "C")
        // The working directory of the caller may be closed to the unprivileged user.
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(account) = directory.account() {
        // std drops the supplementary groups of root together with its uid.
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// The last lines of a program's output or log, as one line.
pub(super) fn last_lines(text: &[u8]) -> String {
    const LINES: usize = 5;
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut last: Vec<&str> = lines.rev().take(LINES).collect();
    last.reverse();
    if last.is_empty() { "it said nothing".to_owned() } else { last.join(" | ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_become_one_line() {
        assert_eq!(last_lines(b"1\n2\n3\n4\n\n  5\n6\n"), "2 | 3 | 4 | 5 | 6");
        assert_eq!(last_lines(b"\n"), "it said nothing");
    }
}
