//! `countersign-bench` against a real server: what it counts is what it sent, and what is wrong makes it fail. How fast
//! anything is, no test says.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed; clippy knows test functions only, not their helpers"
)]

#[path = "../../../tests/api/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the stories of the service, which need more")]
mod support;

use std::{
    env, fs,
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tokio::task::block_in_place;

use support::{PASSWORD, Setup, TestServer, database, live_sessions};

/// Runs it with the password of the actors on standard input.
fn bench(args: &[&str]) -> Output {
    bench_with(args, PASSWORD)
}

/// The server that it calls runs in this process: the thread must not keep it from answering.
fn bench_with(args: &[&str], password: &str) -> Output {
    block_in_place(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-bench"));
        command.args(args).env("COUNTERSIGN_LOG", "warn").env_remove("COUNTERSIGN_BENCH_PASSWORD");
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        // It may have failed before it reads.
        drop(child.stdin.take().expect("piped").write_all(format!("{password}\n").as_bytes()));
        child.wait_with_output().expect("it ends")
    })
}

fn load(server: &TestServer, args: &[&str]) -> Output {
    load_for("0.2", server, args)
}

fn load_for(seconds: &str, server: &TestServer, args: &[&str]) -> Output {
    let target = format!("http://{}", server.grpc_addr);
    let common = ["load", "--json", "--target", &target, "--username", "alice", "--password-stdin"];
    let small = ["--connections", "2", "--streams", "2", "--seconds", seconds, "--warm-up", "0"];
    bench(&[&common[..], &small, args].concat())
}

fn json(output: &Output) -> Value {
    let failure = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {failure}"))
}

/// The one line with which it failed.
fn failure(output: &Output) -> String {
    let line = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{line}");
    line
}

/// Calls were made, all were answered as expected, and what adds up does.
fn assert_sound(output: &Output) -> Value {
    let report = json(output);
    assert!(output.status.success(), "{report}");
    let calls = report["calls"].as_array().expect("an array");
    assert_eq!(calls.iter().map(|call| call["total"].as_u64().expect("a number")).sum::<u64>(), report["total"]);
    for call in calls {
        assert_eq!((&call["expected"], &call["unexpected"]), (&call["total"], &serde_json::json!({})));
        let micros = |name: &str| call["latency_us"][name].as_f64().expect(name);
        assert!(micros("p50") > 0.0 && micros("p50") <= micros("p99") && micros("p99") <= micros("max"), "{call}");
    }
    assert!(report["total"].as_u64() > Some(0) && report["seconds"].as_f64() > Some(0.0), "{report}");
    report
}

async fn server_with_alice() -> TestServer {
    let server = TestServer::start().await;
    server.user("alice").await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_made_and_answered_as_it_should_be() {
    let server = server_with_alice().await;
    for (call, answer) in [
        ("verify-warm", "OK"),
        ("verify-cold", "OK"),
        ("verify-revoked", "TOKEN_REVOKED"),
        ("verify-garbage", "TOKEN_MALFORMED"),
        ("verify-batch", "OK"),
        ("login", "OK"),
        ("refresh", "OK"),
        ("revoke", "OK"),
        ("revoke-by-id", "OK"),
    ] {
        let report = assert_sound(&load(&server, &["--call", call, "--tokens", "64", "--sessions", "4"]));
        assert_eq!((&report["calls"][0]["call"], &report["calls"][0]["answer"]), (&call.into(), &answer.into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_once_ends_the_load_when_it_is_used_up() {
    let server = server_with_alice().await;
    for (args, total) in [(["--call", "revoke", "--sessions", "5"], 5), (["--call", "verify-cold", "--tokens", "7"], 7)]
    {
        assert_eq!(assert_sound(&load_for("60", &server, &args))["total"], total);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mix_counts_each_call_apart() {
    let server = server_with_alice().await;
    let report = assert_sound(&load(&server, &["--call", "verify-warm=2,refresh=2,verify-revoked=1"]));
    assert_eq!(report["calls"].as_array().map(Vec::len), Some(3));
    assert_eq!((&report["rate"], &report["unsent"]), (&Value::Null, &0.into()), "a closed loop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_makes_every_call_of_its_schedule_or_says_that_it_did_not() {
    let server = server_with_alice().await;
    let report = assert_sound(&load(&server, &["--rate", "200"]));
    let [total, unsent] = ["total", "unsent"].map(|name| report[name].as_u64().expect("a number"));
    // 0.2 s at 200 calls a second, and the one that is due at the begin.
    assert_eq!((total + unsent, &report["rate"]), (41, &200.0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_expected_is_counted_by_its_reason_and_fails_the_run() {
    let server = Setup::new().await.with_admin_token().start().await;
    let target = format!("http://{}", server.grpc_addr);
    let output =
        bench(&["load", "--json", "--target", &target, "--call", "empty", "--seconds", "0.1", "--warm-up", "0"]);
    let report = json(&output);
    assert_eq!((&report["calls"][0]["unexpected"]["Unimplemented"], 0), (&report["total"], 0));
    assert!(failure(&output).contains("times Unimplemented for empty"));
    let refused = load(&server, &["--call", "revoke-by-id"]);
    assert_eq!(failure(&refused), "countersign-bench: username: the server refused it: CALLER_NOT_ALLOWED\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_one_line_before_the_load() {
    let server = server_with_alice().await;
    let target = format!("http://{}", server.grpc_addr);
    let load = |args: &[&str], password: &str| {
        failure(&bench_with(&[&["load", "--target", &target, "--seconds", "0.1"], args].concat(), password))
    };
    let wrong = load(&["--username", "alice", "--password-stdin"], "wrong");
    assert_eq!(wrong, "countersign-bench: login: the server refused it: INVALID_CREDENTIALS\n");
    assert!(load(&["--username", "alice"], "").contains("COUNTERSIGN_BENCH_PASSWORD"));
    assert!(load(&[], "").contains("username: this call needs a user"));
    assert!(load(&["--rate", "0"], "").contains("rate: "));
    assert!(load(&["--warm-up=-1"], "").contains("warm-up: "));
    let expired = ["--call", "verify-expired", "--username", "alice", "--password-stdin"];
    assert!(load(&expired, PASSWORD).contains("--access-token-ttl"));
    let load = |target: &str| failure(&bench_with(&["load", "--call", "empty", "--target", target], ""));
    for bad in ["127.0.0.1:1", "https://127.0.0.1:1", "http://127.0.0.1", "http://127.0.0.1:1/path"] {
        assert_eq!(load(bad), "countersign-bench: target: http://host:port\n", "{bad}");
    }
    assert_eq!(load("http://127.0.0.1:1"), "countersign-bench: target: 127.0.0.1:1 refused the connection\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_a_framed_message_that_the_server_accepts() {
    let server = server_with_alice().await;
    let target = format!("http://{}", server.grpc_addr);
    let path = env::temp_dir().join(format!("countersign-bench-body-{}", std::process::id()));
    let body = ["body", "--target", &target, "--username", "alice", "--password-stdin"];
    let args = [&body[..], &["--output", path.to_str().expect("text")]].concat();
    assert!(bench(&args).status.success());
    assert!(failure(&bench(&args)).contains("is there already, and stays as it is"), "nothing is overwritten");
    let message = fs::read(&path).expect("written");
    fs::remove_file(&path).expect("removed");
    assert_eq!(message[0], 0, "not compressed");
    let length = u32::from_be_bytes(message[1..5].try_into().expect("four bytes"));
    assert_eq!(length as usize, message.len() - 5);
    let request: countersign::grpc::v1::VerifyRequest = prost::Message::decode(&message[5..]).expect("a request");
    server.auth_client().verify(request).await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_points_of_the_machine_are_measured_in_one_run() {
    let url = database().await;
    let report = json(&bench(&["--database-url", &url, "reference", "--json", "--seconds", "0.2"]));
    let empty = report["empty_call"].as_array().expect("an array");
    assert_eq!(empty.len(), 4);
    assert!(empty.iter().all(|run| run["calls"][0]["expected"] == run["total"] && run["total"].as_u64() > Some(0)));
    assert!(report["eddsa_verify_us"].as_f64() > Some(0.0) && report["eddsa_sign_us"].as_f64() > Some(0.0));
    assert!(report["argon2"]["per_second"].as_f64() > Some(0.0));
    let commits = report["commits"].as_array().expect("an array");
    assert_eq!(commits.iter().map(|run| run["tasks"].as_u64()).collect::<Vec<_>>(), [1, 8, 16, 64, 256].map(Some));
    assert!(commits.iter().all(|run| run["per_second"].as_f64() > Some(0.0)));
    let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'countersign_bench%'";
    assert_eq!(count(&url, tables).await, 0, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_database_has_users_who_can_log_in_and_sessions_that_live() {
    let server = TestServer::start().await;
    let url = &server.database_url;
    let seed = ["seed", "--json", "--users", "7", "--sessions", "1000", "--database-url", url];
    let facts = json(&bench(&seed));
    assert_eq!(count(url, "SELECT count(*) FROM users WHERE username ~ '^bench-[1-7]$'").await, 7);
    let spread = "SELECT min(c) FROM (SELECT count(*) c FROM refresh_tokens GROUP BY user_id) _";
    assert_eq!((live_sessions(&server).await, count(url, spread).await), (1000, 1000 / 7));
    let target = format!("http://{}", server.grpc_addr);
    let password = facts["password"].as_str().expect("a password");
    let users = ["--target", &target, "--username", "bench", "--users", "7", "--password-stdin"];
    let load = ["load", "--json", "--seconds", "60", "--warm-up", "0", "--call"];
    let revoked = bench_with(&[&load[..], &["revoke-by-id", "--tokens", "50"], &users].concat(), password);
    assert_eq!(assert_sound(&revoked)["total"], 50);
    let used = bench_with(&[&load[..], &["verify-cold", "--tokens", "50"], &users].concat(), password);
    assert_eq!(assert_sound(&used)["total"], 50);
    assert_eq!(live_sessions(&server).await, 1000 - 50 + 32, "those who logged in are of 32 sessions");
    assert!(failure(&bench(&seed)).contains("prefix: there are users of that prefix"));
    assert!(failure(&bench(&[&seed[..], &["--prefix", "a\tb"]].concat())).contains("prefix: "));
}

async fn count(url: &str, statement: &'static str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::query_scalar(statement).fetch_one(&mut connection).await.expect("counted")
}
