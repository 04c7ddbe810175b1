//! Ends Postgres when countersign has died in any way, SIGKILL included.
//!
//! A small shell blocks on a pipe whose only writing end is ours; the system closes it with the
//! process. It holds the helpers' lock, so the next owner waits until it is done. On a clean stop
//! countersign stops Postgres itself and kills the watchdog.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use super::directory::Directory;
use super::durability::Durability;
use super::error::LaunchError;
use super::process::command;

/// Arguments: the signal, the data, and for a throwaway cluster the socket's directory and all of
/// it. The first line read is the pid of Postgres; there is no second one, only the end of the pipe.
///
/// The pid cannot have been reused: until we die it is our child, and nobody else reaps it. The
/// loop also looks at the pid file, since an init that reaps nothing would leave a zombie.
///
/// The helpers' lock is deleted last, as in `Directory::remove`. A watchdog that may not list the
/// directory, because root owns it, deletes the data only; the next owner clears up the rest.
const SCRIPT: &str = r#"
read -r pid || exit 0
read -r end
signal=$1 data=$2 socket=$3 dir=$4
kill -s "$signal" "$pid"
naps=600
while [ "$naps" -gt 0 ] && kill -0 "$pid" && [ -e "$data/postmaster.pid" ]; do
    sleep 0.1
    naps=$((naps - 1))
done
[ -n "$dir" ] || exit 0
rm -rf -- "$data" "$socket"
for entry in "$dir"/* "$dir"/.[!.]*; do
    [ "$entry" = "$dir/helpers.lock" ] || rm -rf -- "$entry"
done
rm -rf -- "$dir"
"#;

/// A running watchdog; dropping it calls it off.
#[derive(Debug)]
pub(super) struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts before Postgres does, so that only `guard` lies between its start and its safety.
    pub(crate) fn spawn(directory: &Directory, durability: Durability) -> Result<Self, LaunchError> {
        let mut shell = command("/bin/sh", directory);
        shell.args(["-c", SCRIPT, "sh"]);
        match durability {
            Durability::Durable => shell.arg("INT").arg(directory.data()),
            Durability::Throwaway => {
                shell.arg("QUIT").arg(directory.data()).arg(directory.socket()).arg(directory.path())
            }
        };
        shell.stdin(Stdio::piped()).stdout(directory.helpers_lock()?);
        let child = shell.spawn().map_err(LaunchError::io("run", Path::new("/bin/sh")))?;
        Ok(Self { child })
    }

    /// Tells it which process to end. The pipe stays open: closing it is the signal.
    pub(crate) fn guard(&mut self, pid: u32) -> Result<(), LaunchError> {
        let Some(stdin) = self.child.stdin.as_mut() else {
            return Ok(());
        };
        writeln!(stdin, "{pid}").map_err(LaunchError::io("guard", Path::new("Postgres")))
    }

    #[cfg(test)]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Killed before its pipe closes with the field, so it never acts.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
