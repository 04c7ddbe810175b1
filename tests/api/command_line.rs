//! The command line and the environment of the real binary.

use std::{
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use countersign::grpc::v1::{ListUsersRequest, user_service_client::UserServiceClient};

use crate::support::{
    ADMIN_TOKEN, MASTER_KEY, PASSWORD, Process, Scratch, TestServer, administering, database, database_in,
};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// A variable of each type that settings have.
const EMPTY: [(&str, &str); 11] = [
    ("COUNTERSIGN_LOG", ""),
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
    assert!(code == Some(1) && said.contains("needed: --database-url"), "{said}");
    let given = [("COUNTERSIGN_DATABASE_URL", "postgres://x/x"), ("COUNTERSIGN_DATABASE_CONNECTIONS", "")];
    let (code, said) = run(&["keys", "rotate", "--leeway", "1h"], &given);
    assert_eq!((code, said.contains("needed, or COUNTERSIGN_MASTER_KEY")), (Some(1), true), "{said}");
}

/// A text as Windows' editors and shells write it.
pub(crate) fn as_of_windows(text: &str) -> String {
    format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"))
}

#[tokio::test]
async fn the_files_of_a_server_may_have_a_mark_and_windows_lines() {
    let (key, token) = (Scratch::of(&as_of_windows(MASTER_KEY)), Scratch::of(&as_of_windows(ADMIN_TOKEN)));
    let settings = ["--master-key-file", key.text(), "--admin-token-file", token.text()];
    let process = Process::start_with(BINARY, &database().await, &settings, &[("COUNTERSIGN_MASTER_KEY", "")]).await;
    let mut client = UserServiceClient::new(process.channel());
    client.list_users(administering(ListUsersRequest::default())).await.expect("the token is the one of the file");
}

fn user(server: &TestServer, args: &[&str], input: &str) -> String {
    let mut command = Command::new(BINARY);
    command.args(["user", "--database-url", &server.database_url]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
    let Output { stdout, stderr, .. } = child.wait_with_output().expect("it ends");
    String::from_utf8([stdout, stderr].concat()).expect("text")
}

#[tokio::test]
async fn a_password_of_standard_input_may_have_a_mark_and_a_windows_line() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let new = "another horse battery staple";
    let said = user(&server, &["passwd", "alice", "--password-stdin"], &as_of_windows(new));
    assert!(said.starts_with("password set"), "{said}");
    alice.login_with(new).await.expect("the password is what was meant");
    alice.login_with(PASSWORD).await.expect_err("it was another");
}

#[tokio::test]
async fn users_to_import_may_have_a_mark_and_windows_lines() {
    let server = TestServer::start().await;
    let row = |name: &str| {
        format!(
            r#"{{"username":"{name}","password_hash":"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}}"#
        )
    };
    let file = Scratch::of(&as_of_windows(&format!("{}\n\n{}", row("one"), row("two"))));
    for (name, input) in [(file.text(), ""), ("-", as_of_windows(&row("three")).as_str())] {
        let said = user(&server, &["import", name], input);
        assert!(said.contains(" imported, 0 skipped") && said.contains(" 0 refused"), "{said}");
    }
    assert_eq!(user(&server, &["list"], "").lines().count(), 3);
}

#[tokio::test]
async fn a_database_that_is_not_in_utf_8_is_neither_migrated_nor_served() {
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let url = database_in(encoding).await;
        for command in ["migrate", "serve"] {
            let addrs = [("COUNTERSIGN_GRPC_ADDR", "127.0.0.1:0"), ("COUNTERSIGN_HTTP_ADDR", "127.0.0.1:0")];
            let variables = [&addrs[..], &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)]].concat();
            let (code, said) = run(&[command, "--database-url", &url], &variables);
            let wanted = format!("database-url: the database is in {encoding}: create it with ENCODING 'UTF8'\n");
            assert!(code == Some(1) && said.ends_with(&wanted), "{command}: {said}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_wants_no_more_ends_a_command_without_a_word() {
    let url = database().await;
    for args in [
        &["user", "list"][..],
        &["user", "export"],
        &["keys", "list"],
        &["keys", "generate-master"],
        &["audit", "tail"],
        &["audit", "tail", "--follow"],
        &["mesh", "status"],
        &["mesh", "envoy-config"],
        &["mesh", "istio-config", "--selector", "app=shop"],
        &["policy", "token"],
        &["config", "check", "--plaintext"],
        &["descriptors"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["migrate"],
        &["serve", "--help"],
        &["--version"],
    ] {
        let mut command = Command::new(BINARY);
        command.args(args).env("COUNTERSIGN_DATABASE_URL", &url).env("COUNTERSIGN_MASTER_KEY", MASTER_KEY);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        drop(child.stdout.take());
        let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
        let said = String::from_utf8(stderr).expect("text");
        assert!(status.code() == Some(0) && !said.contains("countersign: "), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn the_password_of_the_database_may_be_in_a_file() {
    let url = database().await;
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (user, rest) = rest.split_once('@').expect("a user");
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let url = format!("{scheme}://{user}@{rest}");
    let (right, wrong) = (Scratch::of(&format!("{password}\r\n")), Scratch::of("wrong @:/?#%"));
    let list = |file: &str| run(&["user", "--database-url", &url, "--database-password-file", file, "list"], &[]);
    assert_eq!(list(right.text()).0, Some(0), "{}", list(right.text()).1);
    let (code, said) = list("/nowhere");
    assert!(code == Some(1) && said.starts_with("countersign: database-password-file: /nowhere"), "{said}");
    let (_, said) = list(wrong.text());
    assert!(!said.contains("wrong @"), "no part of a password is said: {said}");
    let both = format!("{scheme}://{user}:x@{rest}");
    let given = ["user", "--database-url", &both, "--database-password-file", right.text(), "list"];
    let (code, said) = run(&given, &[]);
    let expected = "countersign: database-password-file: needs a URL with a user and without a password\n";
    assert_eq!((code, said.as_str()), (Some(1), expected));
}

#[tokio::test]
async fn a_file_with_a_secret_that_anybody_may_open_is_named() {
    let (key, token) = (Scratch::of(MASTER_KEY), Scratch::of(ADMIN_TOKEN));
    let settings = ["--master-key-file", key.text(), "--admin-token-file", token.text()];
    let without = [("COUNTERSIGN_MASTER_KEY", "")];
    let url = database().await;
    let named = async || {
        let lines = Process::start_with(BINARY, &url, &settings, &without).await.start.clone();
        let warned = |line: &&serde_json::Value| line.to_string().contains("anybody on this machine may open");
        lines.iter().filter(warned).map(|line| line["setting"].clone()).collect::<Vec<_>>()
    };
    let set_mode = |file: &Scratch, mode: u32| {
        std::fs::set_permissions(file.text(), std::fs::Permissions::from_mode(mode)).expect("changed");
    };
    set_mode(&key, 0o600);
    set_mode(&token, 0o644);
    assert_eq!(named().await, ["admin-token-file"]);
    set_mode(&key, 0o404);
    set_mode(&token, 0o440);
    assert_eq!(named().await, ["master-key-file"]);
    let with_key = format!("postgres://h/x?sslmode=require&sslkey={}", key.text());
    for (mode, warned) in [(0o604, true), (0o640, false)] {
        set_mode(&key, mode);
        let said = run(&["user", "--database-url", &with_key, "list"], &[]).1;
        assert_eq!(said.contains("anybody on this machine may open"), warned, "{said}");
    }
}

#[test]
fn the_settings_of_serve_are_checked_and_printed_without_secrets() {
    let key = Scratch::of(MASTER_KEY);
    let check = ["config", "check", "--database-url", "postgres://ann:s3cret@db/x", "--master-key-file", key.text()];
    let mut command = Command::new(BINARY);
    command.args(check).args(["--plaintext", "--lame-duck", "7s"]).env("COUNTERSIGN_DRAIN_TIMEOUT", "9s");
    let output = command.output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("text");
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    for row in [
        ["COUNTERSIGN_DATABASE_URL", "postgres://ann:***@db/x", "flag"],
        ["COUNTERSIGN_LAME_DUCK", "7s", "flag"],
        ["COUNTERSIGN_DRAIN_TIMEOUT", "9s", "variable"],
        ["COUNTERSIGN_GRPC_ADDR", ":50051", "default"],
        ["COUNTERSIGN_POLICY_FILE", "-", "default"],
    ] {
        assert!(rows.iter().any(|found| *found == row), "{row:?} in {said}");
    }
    assert!(output.status.success() && !said.contains("s3cret"), "{said}");
    let output = Command::new(BINARY).args(check).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("grpc-addr: ") && said.contains("http-addr: ") && !output.status.success(), "{said}");
}

#[test]
fn a_demand_on_clients_without_a_client_ca_is_refused_whatever_it_is() {
    let database = [("COUNTERSIGN_DATABASE_URL", "postgres://x/x"), ("COUNTERSIGN_MASTER_KEY", MASTER_KEY)];
    let certificate = ["--tls-cert-file", "/no/certificate", "--tls-key-file", "/no/key"];
    for files in [&[][..], &certificate] {
        for auth in ["optional", "required"] {
            let (code, said) = run(&[&["serve", "--tls-client-auth", auth], files].concat(), &database);
            let names_both = said.contains("tls-client-auth: only with tls-client-ca-file");
            assert_eq!((code, names_both), (Some(1), true), "{auth}: {said}");
        }
    }
}
