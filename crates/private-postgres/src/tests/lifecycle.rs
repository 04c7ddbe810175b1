//! Start, stop, crash and restart as an owner sees them.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::{LaunchError, Refusal};

#[test]
fn data_outlives_a_stop_a_restart_and_a_crash() {
    let scratch = ScratchDir::new();
    let mut cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();
    psql(&cluster, "CREATE TABLE t AS SELECT 42 AS n");

    cluster.crash().unwrap();
    cluster.restart().unwrap();
    assert_eq!(psql(&cluster, "SELECT n FROM t"), "42");
    cluster.restart().unwrap();
    assert_eq!(psql(&cluster, "SELECT n FROM t"), "42");
    cluster.stop().unwrap();
    cluster.stop().unwrap();
    cluster.restart().unwrap();
    assert_eq!(psql(&cluster, "SELECT n FROM t"), "42");
    drop(cluster);
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();
    assert_eq!(psql(&cluster, "SELECT n FROM t"), "42");
}

#[test]
fn a_new_cluster_has_the_settings_that_countersign_relies_on() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();
    let table = [
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("max_connections", "200"),
        ("shared_buffers", "64MB"),
        ("fsync", "on"),
    ];
    for (setting, expected) in table {
        let sql = format!("SELECT current_setting('{setting}')");
        assert_eq!(psql(&cluster, &sql), expected, "{setting}");
    }
    assert_eq!(psql(&cluster, "SELECT current_user || current_database()"), "countersigncountersign");
}

#[test]
fn the_directory_is_open_for_passing_and_the_data_and_the_socket_are_private() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();

    let mode = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().mode() & 0o777;
    assert_eq!(mode("."), 0o711);
    assert_eq!(mode("postgres"), 0o700);
    assert_eq!(mode("socket"), 0o700);
    assert_eq!(mode("postgres.log"), 0o600);
    drop(cluster);
}

#[test]
fn a_throwaway_directory_is_gone_after_drop_and_cannot_be_restarted() {
    let scratch = ScratchDir::new();
    let dir = scratch.path().join("throwaway");
    let mut cluster = Cluster::start(&dir, Durability::Throwaway).unwrap();
    assert_eq!(psql(&cluster, "SHOW fsync"), "off");
    cluster.crash().unwrap();
    cluster.restart().unwrap();
    assert_eq!(psql(&cluster, "SELECT 1"), "1");
    drop(cluster);
    assert!(!dir.exists());

    let mut cluster = Cluster::start(&dir, Durability::Throwaway).unwrap();
    cluster.stop().unwrap();
    assert!(!dir.exists());
    assert!(matches!(cluster.restart(), Err(LaunchError::Refused { refusal: Refusal::Gone, .. })));
}

#[test]
fn a_long_path_and_a_strange_one_work() {
    let scratch = ScratchDir::new();
    for name in ["long/".repeat(30), "100% é+&=?#'".to_owned(), "a, \"b\"".to_owned()] {
        let dir = scratch.path().join(name);
        let cluster = Cluster::start(&dir, Durability::Throwaway).unwrap();
        assert_eq!(psql(&cluster, "SELECT 1"), "1");
        let socket = cluster.socket().to_owned();
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
        drop(cluster);
        assert!(!dir.exists() && !socket.exists());
    }
}
