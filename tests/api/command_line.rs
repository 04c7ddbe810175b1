//! The command line and the environment of the real binary.

use std::process::{Command, Output};

use crate::support::{Process, database};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// A variable of each type that settings have.
const EMPTY: [(&str, &str); 10] = [
    ("COUNTERSIGN_ISSUER", ""),
    ("COUNTERSIGN_AUDIENCE", ""),
    ("COUNTERSIGN_SIGNING_ALGORITHM", ""),
    ("COUNTERSIGN_ACCESS_TOKEN_TTL", ""),
    ("COUNTERSIGN_VERIFY_CACHE", ""),
    ("COUNTERSIGN_PUBLIC_URL", ""),
    ("COUNTERSIGN_HINTS", ""),
    ("COUNTERSIGN_PASSWORD_BLOCKLIST", ""),
    ("COUNTERSIGN_MASTER_KEY_FILE", ""),
    ("COUNTERSIGN_ADMIN_TOKEN_FILE", ""),
];

fn run(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(BINARY).args(args).envs(variables.iter().copied()).output().expect("it runs");
    (status.code(), String::from_utf8([stdout, stderr].concat()).expect("text"))
}

#[tokio::test]
async fn a_variable_that_is_empty_is_as_if_it_were_not_there() {
    let url = database().await;
    drop(Process::start_with(BINARY, &url, &[], &EMPTY).await);
}

#[test]
fn a_variable_that_is_empty_is_none_in_any_subcommand() {
    let (code, said) = run(&["hash", "calibrate", "--target", "0s"], &[("COUNTERSIGN_HASH_THREADS", "")]);
    assert_eq!((code, said.as_str()), (Some(1), "countersign: target: 1ms to 10s\n"));
    let variables = ["COUNTERSIGN_GRPC_ADDR", "COUNTERSIGN_LOG", "COUNTERSIGN_LOG_FORMAT"].map(|name| (name, ""));
    let (code, said) = run(&["healthcheck", "--timeout", "1ms"], &variables);
    assert_ne!(code, Some(2), "the address, the filter and the form are the defaults: {said}");
    let (code, said) = run(&["user", "list"], &[("COUNTERSIGN_DATABASE_URL", "")]);
    assert!(code == Some(2) && said.contains("--database-url"), "{said}");
    let given = [("COUNTERSIGN_DATABASE_URL", "postgres://x/x"), ("COUNTERSIGN_DATABASE_CONNECTIONS", "")];
    let (code, said) = run(&["keys", "rotate", "--leeway", "1h"], &given);
    assert_eq!((code, said.contains("needed, or COUNTERSIGN_MASTER_KEY")), (Some(1), true), "{said}");
}

#[test]
fn a_flag_that_is_empty_is_what_it_says() {
    let (code, said) = run(&["user", "--database-url", "postgres://x/x", "--issuer", "", "list"], &[]);
    assert!(code == Some(1) && said.starts_with("countersign: issuer: 1 to 256 bytes"), "{said}");
}
