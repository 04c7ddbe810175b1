//! The policy file of a running server: good, broken, mended, and asked for.

use std::process::Command;

use countersign::grpc::v1::{GetJwksRequest, auth_service_client::AuthServiceClient};

use crate::support::{Process, Scratch, database};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
const READ: &str = "read the policy file";
const REFUSED: &str = "the policy file cannot be used: what it said before stays in force";

async fn start(file: &Scratch) -> Process {
    Process::start(BINARY, &database().await, &["--policy-file", file.text()]).await
}

/// What `serve` says of a policy file that it does not start with.
fn refused(file: &str) -> String {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--plaintext", "--database-url", "postgres://x/x", "--policy-file", file]);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).expect("text")
}

async fn serves(process: &Process) {
    AuthServiceClient::new(process.channel()).get_jwks(GetJwksRequest {}).await.expect("it serves");
}

#[test]
fn a_policy_file_that_cannot_be_used_is_refused_with_its_line_before_anything_starts() {
    let file = Scratch::of("# a slip\n\ncaller = []\n");
    let said = refused(file.text());
    assert!(said.starts_with(&format!("countersign: policy-file: {}:3: unknown key `caller`", file.text())), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let said = refused("/nowhere/policy.toml");
    assert!(said.starts_with("countersign: policy-file: /nowhere/policy.toml: "), "{said}");
}

#[tokio::test]
async fn a_policy_file_that_is_broken_while_the_server_runs_is_said_once_and_mended() {
    let file = Scratch::of("\u{feff}# of Windows\r\n");
    let mut process = start(&file).await;
    file.write("# one\ncaller = []\n");
    let said = process.logged(REFUSED).await.pop().expect("a line");
    assert!(said["error"].as_str().expect("text").contains(&format!("{}:2: unknown key", file.text())), "{said}");
    serves(&process).await;
    file.write("# two\r\n");
    let lines = process.logged(READ).await;
    assert!(lines.iter().all(|fields| fields["message"] != REFUSED), "{lines:?}");
    assert_eq!(lines.last().expect("a line")["file"], file.text());
}

#[tokio::test]
async fn a_policy_file_is_read_on_sighup_and_what_came_of_it_is_said() {
    let file = Scratch::of("# one\n");
    let mut process = start(&file).await;
    process.hang_up();
    process.logged(READ).await;
    file.write("routes = 1\n");
    process.hang_up();
    process.logged(REFUSED).await;
    serves(&process).await;
}

#[tokio::test]
async fn without_a_policy_file_sighup_does_nothing() {
    let process = Process::start(BINARY, &database().await, &[]).await;
    for _ in 0..3 {
        process.hang_up();
        serves(&process).await;
    }
}
