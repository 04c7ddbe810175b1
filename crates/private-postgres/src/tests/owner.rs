//! Owners that are killed, and what they leave to the next one.

use rustix::process::{Signal, getpgid, kill_process};

use super::*;

#[test]
fn no_child_holds_the_lock_of_the_owner() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();
    let (postmaster, watchdog) = cluster.ids().unwrap();

    for pid in [postmaster, watchdog] {
        // Elsewhere than on Linux there is nothing to list.
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            assert_ne!(target, scratch.path().join("lock"));
        }
    }
}

#[test]
fn postgres_and_the_watchdog_are_out_of_reach_of_ctrl_c() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();
    let (postmaster, watchdog) = cluster.ids().unwrap();

    for pid in [postmaster, watchdog] {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap());
        assert_eq!(getpgid(pid).unwrap(), pid.unwrap());
    }
}

#[test]
fn a_killed_owner_leaves_nothing_that_blocks_the_next_start() {
    let scratch = ScratchDir::new();
    let mut owner = Owner::start(scratch.path(), Durability::Durable);

    owner.kill();
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();

    assert_eq!(psql(&cluster, "SELECT n FROM t"), "42");
    assert!(!is_alive(owner.postmaster));
    assert!(!is_alive(owner.watchdog));
}

#[test]
fn the_watchdog_alone_stops_postgres_when_the_owner_is_killed() {
    let scratch = ScratchDir::new();
    let mut owner = Owner::start(scratch.path(), Durability::Durable);

    owner.kill();

    eventually("Postgres ends", || !is_alive(owner.postmaster));
    eventually("the watchdog ends", || !is_alive(owner.watchdog));
    assert!(!scratch.path().join("postgres/postmaster.pid").exists());
    let log = fs::read_to_string(scratch.path().join("postgres.log")).unwrap();
    assert!(log.contains("received fast shutdown request"), "{log}");
}

#[test]
fn an_orphan_without_a_watchdog_is_stopped_before_the_next_start() {
    let scratch = ScratchDir::new();
    let mut owner = Owner::start(scratch.path(), Durability::Durable);

    kill_process(owner.watchdog, Signal::KILL).unwrap();
    eventually("the watchdog ends", || !is_alive(owner.watchdog));
    owner.kill();
    assert!(is_alive(owner.postmaster));
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();

    assert!(!is_alive(owner.postmaster));
    assert_eq!(psql(&cluster, "SELECT n FROM t"), "42");
}

#[test]
fn a_killed_owner_of_a_throwaway_cluster_leaves_no_data() {
    let scratch = ScratchDir::new();
    let mut owner = Owner::start(scratch.path(), Durability::Throwaway);

    owner.kill();
    eventually("the watchdog ends", || !is_alive(owner.watchdog));

    assert!(!is_alive(owner.postmaster));
    assert!(!scratch.path().join("postgres/PG_VERSION").exists());
}

#[test]
fn a_start_while_the_watchdog_is_deleting_waits_for_it() {
    let scratch = ScratchDir::new();
    let mut owner = Owner::start(scratch.path(), Durability::Throwaway);

    owner.kill();
    let cluster = Cluster::start(scratch.path(), Durability::Throwaway).unwrap();

    assert!(!is_alive(owner.watchdog));
    assert_eq!(psql(&cluster, "SELECT to_regclass('t') IS NULL"), "t");
}

#[test]
fn a_stale_pid_file_that_names_a_live_stranger_harms_nobody() {
    let scratch = ScratchDir::new();
    drop(Cluster::start(scratch.path(), Durability::Durable).unwrap());
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let data = scratch.path().join("postgres");
    let socket = scratch.path().join("socket");
    for pid in [stranger.id(), std::process::id()] {
        let (data_shown, socket_shown) = (data.display(), socket.display());
        let content = format!("{pid}\n{data_shown}\n1\n5432\n{socket_shown}\n\n1 1\nready   \n");
        fs::write(data.join("postmaster.pid"), &content).unwrap();
        fs::write(socket.join(".s.PGSQL.5432.lock"), &content).unwrap();

        let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();
        assert_eq!(psql(&cluster, "SELECT 1"), "1");
    }
    assert!(stranger.try_wait().unwrap().is_none());
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn an_owner_killed_in_the_middle_of_initdb_does_not_block() {
    let scratch = ScratchDir::new();
    let mut owner = spawn_owner(scratch.path(), Durability::Durable);
    let halfway = scratch.path().join("postgres.new/PG_VERSION");
    eventually("initdb is at work", || halfway.exists());

    kill(&mut owner);
    assert!(!scratch.path().join("postgres").exists());
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();

    assert_eq!(psql(&cluster, "SELECT 1"), "1");
}

#[test]
fn a_half_finished_initdb_does_not_block() {
    let scratch = ScratchDir::new();
    let unfinished = scratch.path().join("postgres.new");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();

    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();

    assert_eq!(psql(&cluster, "SELECT 1"), "1");
    assert!(!unfinished.exists());
}
