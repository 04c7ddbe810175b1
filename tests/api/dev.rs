//! The binary as a newcomer and an operator use it.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use countersign::grpc::v1::{
    ListUsersRequest, LoginRequest, RefreshRequest, TokenPair, VerifyRequest, auth_service_client::AuthServiceClient,
    user_service_client::UserServiceClient,
};
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

use crate::support::Scratch;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A data directory, removed at the end.
struct DataDir(PathBuf);

impl DataDir {
    fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("countersign-dev-{}-{number}", std::process::id())))
    }

    fn facts(&self) -> serde_json::Value {
        let text = fs::read_to_string(self.0.join("dev.json")).expect("dev.json");
        serde_json::from_str(&text).expect("JSON")
    }

    fn fact(&self, name: &str) -> String {
        self.facts()[name].as_str().expect(name).to_owned()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn countersign(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(args).env("COUNTERSIGN_LOG", "warn");
    command
}

fn run(args: &[&str]) -> Output {
    countersign(args).output().expect("it runs")
}

/// The one line with which it failed.
fn failure(output: &Output) -> String {
    let line = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

/// A running `countersign dev`; killed if a test fails before it stops it.
struct Dev(Child);

impl Dev {
    /// Starts it and waits until it says that it is ready.
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// The same, with these settings too.
    fn start_with(dir: &Path, settings: &[&str]) -> Self {
        let dir = dir.to_str().expect("text");
        let ports = ["--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
        let mut child = countersign(&["dev", "--data-dir", dir])
            .args(ports)
            .args(settings)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("Countersign is ready") {
            line.clear();
            assert_ne!(output.read_line(&mut line).expect("text"), 0, "it ended");
        }
        std::thread::spawn(move || drop(output.read_to_end(&mut Vec::new())));
        Self(child)
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).expect("signalled");
        self.0.wait().expect("ended").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn client(dir: &DataDir) -> AuthServiceClient<Channel> {
    let url = format!("http://{}", dir.fact("grpc_addr"));
    AuthServiceClient::connect(url).await.expect("connect")
}

async fn login(dir: &DataDir) -> TokenPair {
    let request = LoginRequest { username: dir.fact("username"), password: dir.fact("password"), ..Default::default() };
    let answer = client(dir).await.login(request).await.expect("logged in");
    answer.into_inner().tokens.expect("tokens")
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_goes_on_with_the_same_users_sessions_and_keys_even_after_a_kill() {
    let dir = DataDir::new();
    let mut dev = Dev::start(&dir.0);
    let (tokens, password, admin_token) = (login(&dir).await, dir.fact("password"), dir.fact("admin_token"));
    let busy = run(&["dev", "--data-dir", dir.0.to_str().expect("text")]);
    assert!(failure(&busy).contains("another countersign"), "one owner at a time");
    dev.signal(Signal::KILL);
    let mut dev = Dev::start(&dir.0);
    assert_eq!((dir.fact("password"), dir.fact("admin_token")), (password, admin_token));
    let verify = VerifyRequest { access_token: tokens.access_token, ..Default::default() };
    client(&dir).await.verify(verify).await.expect("the same keys");
    let refresh = RefreshRequest { refresh_token: tokens.refresh_token, ..Default::default() };
    client(&dir).await.refresh(refresh).await.expect("the same sessions");
    login(&dir).await;
    assert_eq!(dev.signal(Signal::TERM), Some(0));
    let mut dev = Dev::start(&dir.0);
    login(&dir).await;
    assert_eq!(dev.signal(Signal::INT), Some(0));
    assert!(!dir.0.join("postgres/postmaster.pid").exists(), "Postgres has stopped too");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_administered_from_the_command_line() {
    let dir = DataDir::new();
    let mut dev = Dev::start(&dir.0);
    let url = dir.fact("database_url");
    let user = |args: &[&str], input: &str| {
        let mut child = countersign(&["user", "--database-url", &url])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("written");
        child.wait_with_output().expect("it ends")
    };
    let succeeded = |output: Output| {
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let add = ["add", "Alice", "--role", "admin", "--password-stdin"];
    assert!(succeeded(user(&add, "correct horse battery staple\n")).contains("alice"));
    assert!(failure(&user(&add, "correct horse battery staple\n")).contains("taken"));
    assert!(failure(&user(&["add", "bob", "--password-stdin"], "short\n")).contains("15 characters"));
    assert!(failure(&user(&["disable", "nobody"], "")).contains("no such user"));
    succeeded(user(&["passwd", "alice", "--password-stdin"], "another horse battery staple\r\n"));
    assert!(succeeded(user(&["disable", "alice"], "")).contains("0 sessions ended"));
    assert!(succeeded(user(&["list"], "")).contains("disabled  alice  admin"));
    succeeded(user(&["enable", "alice"], ""));
    let request = LoginRequest {
        username: "alice".into(),
        password: "another horse battery staple".into(),
        ..Default::default()
    };
    client(&dir).await.login(request).await.expect("logged in");
    assert!(succeeded(user(&["delete", "alice"], "")).contains("1 sessions ended"));
    assert!(!succeeded(user(&["list"], "")).contains("alice"));
    let patient = ["healthcheck", "--timeout", "60s", "--grpc-addr", &dir.fact("grpc_addr")];
    assert!(run(&patient).status.success());
    let by_http = ["healthcheck", "--timeout", "60s", "--http", "--http-addr", &dir.fact("http_addr")];
    assert!(run(&by_http).status.success());
    assert_eq!(dev.signal(Signal::TERM), Some(0));
    let down = run(&["healthcheck", "--grpc-addr", &dir.fact("grpc_addr")]);
    failure(&down);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_everybody_administers_and_behind_a_list_of_callers_the_token_of_dev_json_does() {
    let (dir, policy) = (DataDir::new(), Scratch::of("[[callers]]\nid = \"anyone\"\nrpcs = [\"Verify\"]\n"));
    let list = async |token: Option<String>| {
        let mut client =
            UserServiceClient::connect(format!("http://{}", dir.fact("grpc_addr"))).await.expect("connect");
        let mut request = tonic::Request::new(ListUsersRequest::default());
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        }
        client.list_users(request).await.map_err(|status| status.code())
    };
    let mut dev = Dev::start(&dir.0);
    list(None).await.expect("listed");
    list(Some(dir.fact("admin_token"))).await.expect("listed");
    assert_eq!(dev.signal(Signal::TERM), Some(0));
    let mut dev = Dev::start_with(&dir.0, &["--policy-file", policy.text()]);
    assert_eq!(list(None).await.expect_err("refused"), tonic::Code::PermissionDenied);
    assert_eq!(list(Some("x".repeat(43))).await.expect_err("refused"), tonic::Code::PermissionDenied);
    list(Some(dir.fact("admin_token"))).await.expect("listed");
    assert_eq!(dev.signal(Signal::TERM), Some(0));
}

#[test]
fn unsafe_or_wrong_settings_are_refused_with_one_line_before_anything_starts() {
    let exposed = run(&["dev", "--grpc-addr", "0.0.0.0:0"]);
    assert!(failure(&exposed).contains("loopback"));
    let stale = run(&["dev", "--max-staleness", "1h"]);
    assert!(failure(&stale).contains("max-staleness: 2s to 5m"));
    let open = run(&["serve", "--database-url", "postgres://localhost/x"]);
    let expected = "tls-cert-file and tls-key-file, or --plaintext if a mesh or a proxy does TLS";
    assert!(failure(&open).contains(&format!("grpc-addr: {expected}; http-addr: {expected}")));
    let serve = ["serve", "--plaintext", "--database-url", "postgres://localhost/x", "--master-key-file"];
    let missing = run(&[&serve[..], &["/nonexistent/master.key"]].concat());
    assert!(failure(&missing).contains("master-key-file"));
    let dir = DataDir::new();
    fs::create_dir(&dir.0).expect("created");
    let short = dir.0.join("short.key");
    fs::write(&short, "c2hvcnQ=").expect("written");
    fs::set_permissions(&short, fs::Permissions::from_mode(0o600)).expect("changed");
    let short = run(&[&serve[..], &[short.to_str().expect("text")]].concat());
    assert!(failure(&short).contains("32 bytes in base64"));
    let migrate = run(&["migrate", "--database-url", "mysql://user:hunter2@host/x"]);
    let line = failure(&migrate);
    assert!(line.contains("postgres://") && !line.contains("hunter2"), "{line}");
}
