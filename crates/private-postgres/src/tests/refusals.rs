//! Starts that must fail, each with one line that says why.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::account::Account;
use crate::{LaunchError, Refusal};

#[test]
fn a_second_start_while_one_runs_is_refused() {
    let scratch = ScratchDir::new();
    let cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();

    let line = Cluster::start(scratch.path(), Durability::Durable).unwrap_err().to_string();

    assert!(line.starts_with("another countersign is running on /"), "{line}");
    assert_eq!(psql(&cluster, "SELECT 1"), "1");
}

#[test]
fn data_of_another_major_version_is_named_with_both_versions() {
    let scratch = ScratchDir::new();
    let data = scratch.path().join("postgres");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "9\n").unwrap();

    let line = Cluster::start(scratch.path(), Durability::Durable).unwrap_err().to_string();

    let installed = format!("but Postgres {} is installed", Binaries::find().unwrap().major());
    assert!(line.contains("holds data of Postgres 9,") && line.contains(&installed), "{line}");
}

#[test]
fn a_server_that_does_not_start_shows_its_log() {
    let scratch = ScratchDir::new();
    let mut cluster = Cluster::start(scratch.path(), Durability::Durable).unwrap();
    let conf = scratch.path().join("postgres/postgresql.conf");
    let mut conf = fs::OpenOptions::new().append(true).open(conf).unwrap();
    writeln!(conf, "no_such_setting = 1").unwrap();

    let line = cluster.restart().unwrap_err().to_string();

    assert!(line.starts_with("Postgres did not start: "), "{line}");
    assert!(line.contains("no_such_setting") && !line.contains('\n'), "{line}");
}

#[test]
fn a_throwaway_cluster_refuses_a_directory_that_holds_something() {
    let scratch = ScratchDir::new();
    fs::write(scratch.path().join("thesis.tex"), "years of work").unwrap();

    let refused = Cluster::start(scratch.path(), Durability::Throwaway);

    assert!(matches!(refused, Err(LaunchError::Refused { refusal: Refusal::NotEmpty, .. })), "{refused:?}");
    assert!(scratch.path().join("thesis.tex").exists());
}

#[test]
fn a_shared_directory_is_refused() {
    let scratch = ScratchDir::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o1777)).unwrap();

    let refused = Cluster::start(scratch.path(), Durability::Durable);

    assert!(matches!(refused, Err(LaunchError::Refused { refusal: Refusal::NotPrivate, .. })), "{refused:?}");
}

#[test]
fn the_directory_of_a_stranger_below_tmp_is_not_used_for_the_socket() {
    let scratch = ScratchDir::new();
    let dir = scratch.path().join("long/".repeat(30));
    let mut cluster = Cluster::start(&dir, Durability::Durable).unwrap();
    let socket = cluster.socket().to_owned();
    cluster.stop().unwrap();
    symlink(scratch.path(), &socket).unwrap();

    let refused = cluster.restart();

    fs::remove_file(&socket).unwrap();
    assert!(matches!(refused, Err(LaunchError::Refused { refusal: Refusal::SocketTaken, .. })), "{refused:?}");
}

#[test]
fn a_closed_parent_is_refused_when_root_hands_postgres_to_another_user() {
    let Some(account) = Account::for_postgres().unwrap() else {
        return;
    };
    let scratch = ScratchDir::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o700)).unwrap();

    let refused = Cluster::start(&scratch.path().join("dir"), Durability::Durable);

    let line = refused.unwrap_err().to_string();
    let expected = format!("cannot enter {}:", scratch.path().display());
    assert!(line.contains(&account.name) && line.contains(&expected), "{line}");
}
