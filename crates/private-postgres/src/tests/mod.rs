//! Stories with a real Postgres. An owner that dies is this test binary, run again as a child with
//! one test selected and the directory in its environment.

mod lifecycle;
mod owner;
mod refusals;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};

use super::wait::wait_for;
use super::{Binaries, Cluster, Durability};

const OWNER_DIR: &str = "COUNTERSIGN_TEST_OWNER_DIR";
const OWNER_DURABILITY: &str = "COUNTERSIGN_TEST_OWNER_DURABILITY";
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory of its own for a test, deleted at its end.
pub(super) struct ScratchDir(PathBuf);

impl ScratchDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("countersign-test-{}-{number}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path.canonicalize().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs this test binary again to own a cluster in `dir`, in a process that can be killed.
fn spawn_owner(dir: &Path, durability: Durability) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("{module}::owns_a_cluster_when_asked")])
        .env(OWNER_DIR, dir)
        .env(OWNER_DURABILITY, format!("{durability:?}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// An owner whose cluster runs and holds a table `t` with one row, 42.
struct Owner {
    process: Child,
    postmaster: Pid,
    watchdog: Pid,
}

impl Owner {
    fn start(dir: &Path, durability: Durability) -> Self {
        let mut process = spawn_owner(dir, durability);
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|line| line.contains("owner:")).unwrap();
        let ids = line.split_whitespace().filter_map(|word| word.parse().ok());
        let pids: Vec<Pid> = ids.filter_map(Pid::from_raw).collect();
        Self { process, postmaster: pids[0], watchdog: pids[1] }
    }

    fn kill(&mut self) {
        kill(&mut self.process);
    }
}

fn kill(process: &mut Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let met = wait_for(PATIENCE, || Ok(condition().then_some(()))).unwrap();
    assert!(met.is_some(), "never: {what}");
}

fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    test_kill_process(pid).is_ok() && !stat.contains(") Z ")
}

/// The output of psql for one statement.
fn psql(cluster: &Cluster, sql: &str) -> String {
    let output = Command::new(Binaries::find().unwrap().program("psql"))
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, &cluster.url("countersign")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn owns_a_cluster_when_asked() {
    let Some(dir) = env::var_os(OWNER_DIR) else {
        return;
    };
    let durability = match env::var(OWNER_DURABILITY).as_deref() {
        Ok("Throwaway") => Durability::Throwaway,
        _ => Durability::Durable,
    };
    let cluster = Cluster::start(Path::new(&dir), durability).unwrap();
    psql(&cluster, "CREATE TABLE IF NOT EXISTS t AS SELECT 42 AS n");
    let (postmaster, watchdog) = cluster.ids().unwrap();
    println!("owner: {postmaster} {watchdog}");
    loop {
        thread::park();
    }
}
