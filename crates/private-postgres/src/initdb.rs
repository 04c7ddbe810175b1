//! Makes the data directory: initdb and the database, in a directory beside its final place and then renamed. So a
//! start that was killed half-way leaves nothing that blocks the next.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::directory::{Directory, remove_tree};
use super::durability::Durability;
use super::error::LaunchError;
use super::find::Binaries;
use super::process::{command, last_lines};

/// The superuser, and the database that is there from the start.
pub(super) const NAME: &str = "countersign";

/// The installation that fits the data: the newest one for new data, else the same major version.
pub(super) fn choose_binaries(newest: Binaries, directory: &Directory) -> Result<Binaries, LaunchError> {
    match data_major(&directory.data())? {
        Some(major) if major != newest.major() => Binaries::find_major(major).ok_or_else(|| {
            LaunchError::OtherVersion { dir: directory.path().to_owned(), data: major, installed: newest.major() }
        }),
        _ => Ok(newest),
    }
}

/// Makes the data directory unless there is one.
pub(super) fn ensure_data(
    directory: &Directory,
    binaries: &Binaries,
    durability: Durability,
) -> Result<(), LaunchError> {
    if data_major(&directory.data())?.is_some() {
        return Ok(());
    }
    let unfinished = directory.unfinished_data();
    remove_tree(&unfinished)?;
    directory.create_private(&unfinished)?;
    run_initdb(directory, binaries, durability)?;
    create_database(directory, binaries, durability)?;
    fs::rename(&unfinished, directory.data()).map_err(LaunchError::io("rename", &unfinished))?;
    // The rename itself has to survive a power cut before anybody relies on the data.
    let parent = File::open(directory.path()).and_then(|parent| parent.sync_all());
    parent.map_err(LaunchError::io("sync", directory.path()))
}

/// The major version that `PG_VERSION` says; `None` where there is no data yet.
fn data_major(data: &Path) -> Result<Option<u32>, LaunchError> {
    let path = data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().split('.').next().and_then(|major| major.parse().ok())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(LaunchError::io("read", &path)(e)),
    }
}

fn run_initdb(directory: &Directory, binaries: &Binaries, durability: Durability) -> Result<(), LaunchError> {
    let mut initdb = tool(directory, &binaries.program("initdb"))?;
    initdb
        .args(["--username", NAME, "--encoding", "UTF8", "--no-locale"])
        // The directory of the socket is the access control: mode 0700.
        .args(["--auth", "trust", "--data-checksums"])
        .arg("--pgdata")
        .arg(directory.unfinished_data());
    if durability == Durability::Throwaway {
        initdb.arg("--no-sync");
    }
    run("initdb", initdb, b"")
}

/// Creates the database in single-user mode: there is no server to wait for, and the rename publishes data and database
/// at once.
fn create_database(directory: &Directory, binaries: &Binaries, durability: Durability) -> Result<(), LaunchError> {
    let mut postgres = tool(directory, &binaries.program("postgres"))?;
    postgres
        .args(["--single", "-c", "exit_on_error=on"])
        .args(durability.settings())
        .arg("-D")
        .arg(directory.unfinished_data())
        .arg("postgres");
    run("postgres --single", postgres, format!("CREATE DATABASE {NAME}\n").as_bytes())
}

/// A program that holds the helpers' lock, so that the next owner waits for it if we are killed.
///
/// The shell moves the lock from stdout, where std can pass it, to where nothing writes.
fn tool(directory: &Directory, program: &Path) -> Result<Command, LaunchError> {
    let mut tool = command("/bin/sh", directory);
    tool.args(["-c", "exec \"$@\" 3>&1 >/dev/null", "sh"]).arg(program);
    tool.stdout(directory.helpers_lock()?);
    Ok(tool)
}

fn run(program: &'static str, mut tool: Command, input: &[u8]) -> Result<(), LaunchError> {
    let path = Path::new(program);
    let mut child = tool.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(LaunchError::io("run", path))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ended early shows in its status, with what it said.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(LaunchError::io("run", path))?;
    if output.status.success() {
        return Ok(());
    }
    Err(LaunchError::Failed { program, detail: last_lines(&output.stderr) })
}
