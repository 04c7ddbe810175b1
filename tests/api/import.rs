//! Moving users in and out: ImportUsers, and `countersign user import` and `export`.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use countersign::{
    domain::{policy::WeakHashes, user::Username},
    grpc::v1::{
        CreateUserRequest, GetUserRequest, ImportUsersRequest, ImportUsersResponse, ImportedUser, LoginRequest,
        LoginResponse, UnimportedReason, get_user_request::Key,
    },
};
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection};
use tonic::{Response, Status};

use crate::support::{PASSWORD, Setup, TestServer, refusal, violations};

static NEXT: AtomicU32 = AtomicU32::new(0);

const FIREBASE: &str = "$firebase-scrypt$ln=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==";
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
/// A password that NFKC changes.
const TYPED: &str = "\u{fb01}anc\u{e9}\u{2460}";
/// Of `TYPED`, by PHP's `password_hash`, with the lengths of this service's own.
const PHP: &str = "$argon2id$v=19$m=64,t=2,p=1$V3VZMWNLRTh3VUx6Tk9XcA$TqOZGQsju8y6P/3RgyQQUOdIahMhPp7FW20qLioczpM";
const SSHA: &str = "{SSHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a";

fn row(username: &str, password_hash: &str) -> ImportedUser {
    ImportedUser { username: username.into(), password_hash: password_hash.into(), ..Default::default() }
}

fn message(users: Vec<ImportedUser>) -> ImportUsersRequest {
    ImportUsersRequest { dry_run: false, users }
}

async fn import(
    server: &TestServer,
    messages: Vec<ImportUsersRequest>,
) -> Result<Response<ImportUsersResponse>, Status> {
    server.user_client().import_users(tokio_stream::iter(messages)).await
}

/// What became of the rows of one message: (imported, skipped, refused), and of each that was not imported, its number,
/// the reason and the fields.
async fn outcome(server: &TestServer, messages: Vec<ImportUsersRequest>) -> ((i64, i64, i64), Vec<String>) {
    let answer = import(server, messages).await.expect("imported").into_inner();
    let rows = answer.rows.iter().map(|row| {
        let reason = UnimportedReason::try_from(row.reason).expect("a reason");
        let reason = reason.as_str_name().trim_start_matches("UNIMPORTED_REASON_");
        let fields: Vec<&str> = row.violations.iter().map(|v| v.field.as_str()).collect();
        format!("{} {reason} {}", row.row, fields.join(",")).trim_end().to_owned()
    });
    ((answer.imported, answer.skipped, answer.refused), rows.collect())
}

async fn login(server: &TestServer, name: &str, password: &str) -> Result<Response<LoginResponse>, Status> {
    let request = LoginRequest { username: name.into(), password: password.into(), ..Default::default() };
    server.auth_client().login(request).await
}

async fn count(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut connection).await.expect("counted")
}

/// Waits until the only user has a hash of this service.
async fn until_replaced(server: &TestServer) {
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let stored = "SELECT count(*) FROM users WHERE password_hash LIKE '$argon2id$v=19$%'";
    let replaced =
        async { while sqlx::query_scalar::<_, i64>(stored).fetch_one(&mut connection).await.expect("counted") == 0 {} };
    tokio::time::timeout(Duration::from_secs(60), replaced).await.expect("in time");
}

/// Known answers of every form of the table in the proto.
#[derive(Deserialize)]
struct Vector {
    password: String,
    hash: String,
}

#[tokio::test]
async fn imported_users_log_in_with_the_passwords_that_they_have() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.import_weak_hashes = WeakHashes::Take;
    let server = setup.start().await;
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../vectors/password_hashes.json")).expect("a list");
    let users = vectors.iter().enumerate().map(|(nth, vector)| row(&format!("user{nth}"), &vector.hash)).collect();
    assert_eq!(outcome(&server, vec![message(users)]).await, ((vectors.len() as i64, 0, 0), vec![]));
    for (nth, Vector { password, hash }) in vectors.iter().enumerate() {
        let name = format!("user{nth}");
        let before = server.auth.passwords.hasher().hashes();
        assert_eq!(refusal(login(&server, &name, "another one").await).1, "INVALID_CREDENTIALS", "{hash}");
        login(&server, &name, password).await.expect(hash);
        assert!(server.auth.passwords.hasher().hashes() >= before + 2, "{hash}: counted as work");
    }
}

/// PHP, Laravel, argon2-cffi and Kratos hash what was typed, in the very form of this service, which hashes after NFKC.
#[tokio::test]
async fn a_password_that_nfkc_changes_logs_in_with_a_hash_that_looks_like_ours() {
    let server = TestServer::start().await;
    assert_eq!(outcome(&server, vec![message(vec![row("php", PHP)])]).await, ((1, 0, 0), vec![]));
    let before = server.auth.passwords.hasher().hashes();
    assert_eq!(refusal(login(&server, "php", "fianc\u{e9}1").await).1, "INVALID_CREDENTIALS", "it is another password");
    assert_eq!(server.auth.passwords.hasher().hashes() - before, 1, "one form is tried");
    login(&server, "php", TYPED).await.expect("as typed");
    until_replaced(&server).await;
    for text in [TYPED, "fianc\u{e9}1"] {
        login(&server, "php", text).await.expect("after NFKC, from the first login on");
    }
}

#[tokio::test]
async fn weak_hashes_are_imported_where_a_setting_says_so_and_verified_wherever_they_are_stored() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.import_weak_hashes = WeakHashes::Take;
    let lenient = setup.start().await;
    assert_eq!(outcome(&lenient, vec![message(vec![row("ldap", SSHA)])]).await, ((1, 0, 0), vec![]));
    let strict = lenient.replica().await;
    let again = outcome(&strict, vec![message(vec![row("other", SSHA)])]).await;
    assert_eq!(again, ((0, 0, 1), vec!["1 INVALID password_hash".to_owned()]));
    login(&strict, "ldap", "test123").await.expect("stored already");
    until_replaced(&strict).await;
}

#[tokio::test]
async fn r50_the_first_right_password_replaces_an_imported_hash() {
    let server = TestServer::start().await;
    outcome(&server, vec![message(vec![row("alice", BCRYPT)])]).await;
    login(&server, "alice", "U*U").await.expect("logged in");
    until_replaced(&server).await;
    login(&server, "alice", "U*U").await.expect("the same password");
}

#[tokio::test]
async fn what_a_row_says_of_its_user_is_kept() {
    let server = TestServer::start().await;
    let created_at = Some(prost_types::Timestamp { seconds: 1_500_000_000, nanos: 0 });
    let roles = vec!["writer".to_owned(), "reader".to_owned()];
    let old = ImportedUser { roles, created_at, disabled: true, ..row("Old", BCRYPT) };
    assert_eq!(outcome(&server, vec![message(vec![old, row("new", BCRYPT)])]).await.0, (2, 0, 0));
    let request = GetUserRequest { key: Some(Key::Username("old".into())) };
    let user = server.user_client().get_user(request).await.expect("found").into_inner().user.expect("a user");
    assert_eq!(
        (user.roles, user.created_at, user.disabled),
        (vec!["reader".into(), "writer".into()], created_at, true)
    );
    assert_eq!(refusal(login(&server, "old", "U*U").await).1, "INVALID_CREDENTIALS");
    login(&server, "new", "U*U").await.expect("enabled");
}

#[tokio::test]
async fn rows_that_are_refused_or_skipped_hold_up_no_other() {
    let server = TestServer::start().await;
    server.user("there").await;
    let future = Some(prost_types::Timestamp { seconds: i64::MAX, nanos: -1 });
    let first = vec![
        row("first", BCRYPT),
        row("THERE", BCRYPT),
        row("a name", "hunter2"),
        row("First", BCRYPT),
        row("costly", &BCRYPT.replace("$05$", "$15$")),
        ImportedUser { roles: vec!["no role".into()], ..row("role", BCRYPT) },
        ImportedUser { created_at: future, ..row("future", BCRYPT) },
        row("nul", "$2a$05$\0"),
    ];
    let second = vec![row("costly", BCRYPT), row("first", BCRYPT), row("last", BCRYPT)];
    let (totals, rows) = outcome(&server, vec![message(first), message(second)]).await;
    assert_eq!(totals, (3, 3, 5));
    let expected = [
        "2 EXISTS",
        "3 INVALID username,password_hash",
        "4 DUPLICATE",
        "5 INVALID password_hash",
        "6 INVALID roles",
        "7 INVALID created_at",
        "8 INVALID password_hash",
        "10 DUPLICATE",
    ];
    assert_eq!(rows, expected);
    for name in ["first", "costly", "last"] {
        login(&server, name, "U*U").await.expect(name);
    }
    login(&server, "there", PASSWORD).await.expect("it has its own password still");
}

#[tokio::test]
async fn an_import_that_broke_off_is_sent_again() {
    let server = TestServer::start().await;
    let users = |range: std::ops::Range<u32>| message(range.map(|i| row(&format!("user{i}"), BCRYPT)).collect());
    let broken = vec![users(0..1000), users(1000..2001)];
    assert_eq!(violations(import(&server, broken).await), ["users"]);
    assert_eq!(count(&server.database_url).await, 1000, "what came before stays");
    login(&server, "user999", "U*U").await.expect("imported");
    let (totals, rows) = outcome(&server, vec![users(0..1000), users(1000..1500)]).await;
    assert_eq!((totals, rows.len()), ((500, 1000, 0), 1000));
    assert_eq!((rows[0].as_str(), rows[999].as_str()), ("1 EXISTS", "1000 EXISTS"));
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_writes_nothing() {
    let server = TestServer::start().await;
    server.user("there").await;
    let users = || vec![row("there", BCRYPT), row("new", BCRYPT), row("bad", "x")];
    let dry = ImportUsersRequest { dry_run: true, users: users() };
    let after = message(vec![row("new", BCRYPT)]);
    let said = outcome(&server, vec![dry.clone(), after.clone()]).await;
    assert_eq!(said, ((1, 2, 1), vec!["1 EXISTS".into(), "3 INVALID password_hash".into(), "4 DUPLICATE".into()]));
    assert_eq!(count(&server.database_url).await, 1);
    assert_eq!(violations(import(&server, vec![after, dry]).await), ["dry_run"], "too late");
    let done = outcome(&server, vec![message(users())]).await;
    assert_eq!(done.0, (0, 2, 1), "the message before that was written");
}

#[tokio::test]
async fn a_stored_hash_that_costs_too_much_is_an_internal_error_and_never_run() {
    let server = TestServer::start().await;
    outcome(&server, vec![message(vec![row("poisoned", BCRYPT)])]).await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let poison = "UPDATE users SET password_hash = replace(password_hash, '$05$', '$31$')";
    sqlx::query(poison).execute(&mut connection).await.expect("poisoned");
    assert_eq!(refusal(login(&server, "poisoned", "U*U").await).1, "INTERNAL");
    assert_eq!(server.auth.passwords.hasher().hashes(), 0);
}

/// A file, removed at the end.
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: &str) -> Self {
        let file = Self::absent();
        fs::write(&file.0, content).expect("written");
        file
    }

    fn absent() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(env::temp_dir().join(format!("countersign-import-{}-{number}.jsonl", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

fn user_command(url: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env("COUNTERSIGN_LOG", "warn").args(["user", "--database-url", url]).args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// Users of one moment come in any order.
fn sorted(lines: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = text(lines).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_from_one_database_logs_in_at_another() {
    let (here, there) = (TestServer::start().await, TestServer::start().await);
    here.user("alice").await;
    let firebase = ImportedUser { roles: vec!["a".into(), "b".into()], ..row("firebase", FIREBASE) };
    let disabled = ImportedUser { disabled: true, ..row("disabled", BCRYPT) };
    outcome(&here, vec![message(vec![firebase, disabled, row("php", PHP)])]).await;
    let ours = CreateUserRequest { username: "typographer".into(), password: TYPED.repeat(3), roles: vec![] };
    here.user_client().create_user(ours).await.expect("created");
    let file = TempFile::absent();
    let export = ["export", "--output", file.path()];
    assert!(user_command(&here.database_url, &export).status.success());
    assert_eq!(fs::metadata(&file.0).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(!user_command(&here.database_url, &export).status.success(), "no file is written over");
    let piped = user_command(&here.database_url, &["export"]).stdout;
    assert!(fs::read(&file.0).expect("a file") == piped);
    let imported = user_command(&there.database_url, &["import", file.path()]);
    assert_eq!(text(&imported.stdout), "5 imported, 0 skipped (there already, or twice), 0 refused\n");
    let back = user_command(&there.database_url, &["export"]).stdout;
    assert!(sorted(&back) == sorted(&piped), "roles, status, hash and time of creation");
    login(&there, "alice", PASSWORD).await.expect("alice");
    login(&there, "firebase", "user1password").await.expect("firebase");
    let plain = format!(r#""username":"php","password_hash":"{PHP}","roles""#);
    assert!(text(&piped).contains(&plain), "as it came");
    login(&there, "php", TYPED).await.expect("as typed");
    for password in [TYPED, "fianc\u{e9}1"] {
        login(&there, "typographer", &password.repeat(3)).await.expect("after NFKC");
    }
    assert_eq!(refusal(login(&there, "disabled", "U*U").await).1, "INVALID_CREDENTIALS");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_takes_weak_hashes_if_it_is_told_to() {
    let url = Setup::new().await.database_url;
    let file = TempFile::new(&format!(r#"{{"username":"a","password_hash":"{SSHA}"}}"#));
    for (args, code) in [(&[][..], 1), (&["--import-weak-hashes", "on"], 0)] {
        let output = user_command(&url, &[args, &["import", file.path()]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_names_the_lines_that_it_refuses_and_can_be_run_again() {
    let url = Setup::new().await.database_url;
    let good = |name: &str| format!(r#"{{"username":"{name}","password_hash":"{BCRYPT}"}}"#);
    let lines = [&good("a"), "", &good("b"), "hunter2", &good("A"), r#"{"username":"c","password_hash":"hunter2"}"#];
    let file = TempFile::new(&lines.join("\n"));
    let dry = user_command(&url, &["import", "--dry-run", file.path()]);
    assert_eq!(text(&dry.stdout), "2 would be imported, 1 skipped (there already, or twice), 2 refused\n");
    assert_eq!(count(&url).await, 0);
    for (stdout, run) in [("2 imported, 1 skipped", "the first"), ("0 imported, 3 skipped", "again")] {
        let output = user_command(&url, &["import", file.path()]);
        assert_eq!(output.status.code(), Some(1), "{run}");
        assert!(text(&output.stdout).starts_with(stdout), "{run}");
        let complaints = text(&output.stderr);
        let begins: Vec<&str> = complaints.lines().map(|line| line.split_at("line 4:".len()).0).collect();
        assert_eq!(begins, ["line 4:", "line 5:", "line 6:", "counter"], "{complaints}");
        assert!(!complaints.contains("hunter2"), "{complaints}");
    }
    let mut unread = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    unread.args(["user", "--database-url", &url, "import", file.path()]).stdout(writer).stderr(Stdio::null());
    assert_eq!(unread.status().expect("it runs").code(), Some(1), "whether or not anybody reads the totals");
    let missing = user_command(&url, &["import", "/nonexistent/users.jsonl"]);
    assert!(text(&missing.stderr).contains("file: cannot be read"));
}

/// What an unknown name's password is checked against is of the kinds that the users have, the same on every replica.
#[tokio::test]
async fn p6_an_unknown_name_costs_what_users_cost() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let names: Vec<Username> = (0..200).map(|n| Username::parse(&format!("nobody{n}")).expect("a name")).collect();
    let kinds = |server: &TestServer| -> Vec<String> {
        let of =
            |name| server.auth.passwords.decoy_of(name).map_or(String::new(), |hash| hash.as_str()[..7].to_owned());
        names.iter().map(of).collect()
    };
    let own = server.user("alice").await;
    for replica in [&server, &other] {
        replica.auth.sample_hashes().await.expect("sampled");
        assert!(kinds(replica).iter().all(|kind| kind == "$argon2"), "there is one user, of today's kind");
    }
    let rows = (0..3).map(|n| row(&format!("moved{n}"), BCRYPT)).collect();
    assert_eq!(outcome(&server, vec![message(rows)]).await.0, (3, 0, 0));
    for replica in [&server, &other] {
        replica.auth.sample_hashes().await.expect("sampled");
    }
    let mixed = kinds(&server);
    assert_eq!(mixed, kinds(&other));
    let moved = mixed.iter().filter(|kind| *kind == &BCRYPT[..7]).count();
    assert!((120..180).contains(&moved), "{moved} of 200, where three of four users are of that kind");
    // Whatever it is checked against, the answer and the count of hashes are the same.
    for name in ["nobody0", "nobody1", "nobody2", "moved0", &own.name] {
        let before = server.auth.passwords.hasher().hashes();
        assert_eq!(refusal(login(&server, name, "wrong").await).1, "INVALID_CREDENTIALS");
        assert_eq!(server.auth.passwords.hasher().hashes() - before, 1, "{name}");
    }
}
