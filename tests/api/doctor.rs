//! `countersign doctor`: the real binary against a real Postgres, in good states and in broken ones.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::{
    ADMIN_TOKEN, Authority, MASTER_KEY, Pair, Process, Replication, Scratch, database, database_in, somebody_waits,
};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
/// Another master key than that of the servers.
const OTHER_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// The outcome of a visit.
pub(crate) struct Visit {
    code: Option<i32>,
    findings: Vec<Value>,
    text: String,
}

impl Visit {
    /// The severities of the findings of a check.
    fn severities<'v>(&'v self, check: &'v str) -> Vec<&'v str> {
        self.of(check).map(|it| it["severity"].as_str().expect("text")).collect()
    }

    fn of<'v>(&'v self, check: &'v str) -> impl Iterator<Item = &'v Value> + 'v {
        self.findings.iter().filter(move |it| it["check"] == check)
    }

    /// Passes if a finding of the check has this severity, these words and this remedy.
    #[track_caller]
    pub(crate) fn says(&self, check: &str, severity: &str, what: &str, remedy: &str) {
        let has = |it: &Value, name: &str, part: &str| it[name].as_str().unwrap_or_default().contains(part);
        let fits = |it: &Value| it["severity"] == severity && has(it, "what", what) && has(it, "remedy", remedy);
        assert!(self.of(check).any(fits), "{check} {severity} {what:?} {remedy:?}:\n{}", self.text);
    }

    /// Passes if nothing is worse than a hint.
    #[track_caller]
    pub(crate) fn is_well(&self) {
        assert_eq!(self.code, Some(0), "{}", self.text);
    }
}

/// Asks with a good master key, and settings.
pub(crate) fn visit(url: &str, args: &[&str]) -> Visit {
    visit_with(url, args, &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)])
}

fn visit_with(url: &str, args: &[&str], variables: &[(&str, &str)]) -> Visit {
    let mut command = doctor();
    command.args(["--json", "--plaintext", "--database-url", url]).args(args).envs(variables.iter().copied());
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let findings = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    Visit { code: output.status.code(), findings, text: text + &String::from_utf8_lossy(&output.stderr) }
}

/// The program, which knows nothing of the variables of the tests.
fn doctor() -> Command {
    let mut command = Command::new(BINARY);
    command.arg("doctor");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("connect")
}

async fn execute(url: &str, statement: &str) {
    connect(url).await.execute(AssertSqlSafe(statement.to_owned())).await.expect("executed");
}

#[tokio::test]
async fn a_deployment_that_is_sound_is_well() {
    let url = database().await;
    let server = Process::start(BINARY, &url, &[]).await;
    let found = visit(&url, &["--http", &format!("http://{}", server.http_addr)]);
    found.is_well();
    for check in ["settings", "database.reachable", "database.encoding", "database.primary", "database.migrations"] {
        assert_eq!(found.severities(check), ["ok"], "{check}: {}", found.text);
    }
    for check in ["database.commits", "database.clock", "database.transactions", "keys.master", "server.ready"] {
        assert_eq!(found.severities(check), ["ok"], "{check}: {}", found.text);
    }
    found.says("replicas", "ok", "has read all of the log", "");
    found.says("database.role", "hint", "is a superuser", "roles of the database");
    found.says("keys.access_token", "ok", "takes over in", "");
    assert!(!found.text.contains(MASTER_KEY), "no secret is said");
}

#[tokio::test]
async fn people_get_a_line_for_each_check_and_no_colours_in_a_pipe() {
    let url = database().await;
    let mut command = doctor();
    command.args(["--plaintext", "--database-url", &url]).env("COUNTERSIGN_MASTER_KEY", MASTER_KEY);
    let output = command.output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.lines().any(|line| line == "ok       database.encoding         UTF8"), "{text}");
    assert!(text.contains("hint     replicas                  no server runs on this database -> start one"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_an_error() {
    let nowhere = visit("postgres://me:s3cret@127.0.0.1:1/x", &[]);
    assert_eq!(nowhere.code, Some(2));
    nowhere.says("database.reachable", "error", "the database at 127.0.0.1:1 refused the connection", "start it");
    assert!(!nowhere.text.contains("s3cret"));
    let latin = visit(&database_in("LATIN1").await, &[]);
    assert_eq!(latin.code, Some(2));
    latin.says("database.encoding", "error", "the database is in LATIN1", "ENCODING 'UTF8'");
    latin.says("database.migrations", "error", "14 migrations are missing", "countersign migrate");
}

#[tokio::test]
async fn a_schema_of_another_version_is_said() {
    let url = database().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (9999, 'later', true, '', 0)";
    execute(&url, newer).await;
    let found = visit(&url, &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.says("database.migrations", "warning", "has migration 9999", "use the newer version");
    execute(&url, "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 3").await;
    visit(&url, &[]).says("database.migrations", "error", "migration 3 is another one", "not countersign's");
}

#[tokio::test]
async fn who_may_only_read_is_told() {
    let url = database().await;
    let name = url.split('?').next().and_then(|it| it.rsplit('/').next()).expect("a name").to_owned();
    execute(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    let found = visit(&url, &[]);
    assert_eq!(found.code, Some(2));
    found.says("database.primary", "error", "transactions are read-only", "default_transaction_read_only");
    found.says("database.commits", "error", "nothing can be committed", "");
}

#[tokio::test]
async fn a_standby_is_no_place_to_write() {
    let pair = Pair::start(Replication::Synchronous).await;
    let found = visit(&pair.standby_url(), &[]);
    assert_eq!(found.code, Some(2), "{}", found.text);
    found.says("database.primary", "error", "the server is a standby", "target_session_attrs=read-write");
    visit(&pair.primary_url(), &[]).says("database.replication", "ok", "commits wait for", "");
}

#[tokio::test]
async fn a_transaction_that_holds_the_head_of_the_log_is_named() {
    let url = database().await;
    let mut holder = connect(&url).await;
    holder.execute("BEGIN; UPDATE revocation_head SET seq = seq").await.expect("locked");
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.expect("a process");
    let mut waiter = connect(&url).await;
    let waiting = tokio::spawn(async move { waiter.execute("UPDATE revocation_head SET seq = seq").await.map(drop) });
    somebody_waits(&url).await;
    let found = visit(&url, &[]);
    assert_eq!(found.code, Some(2));
    assert_eq!(found.severities("database.transactions"), ["error"], "who waits is not named: {}", found.text);
    found.says("database.transactions", "error", "holds revocation_head", &format!("pg_terminate_backend({pid})"));
    holder.execute("ROLLBACK").await.expect("rolled back");
    waiting.await.expect("it ends").expect("updated");
    visit(&url, &[]).says("database.transactions", "ok", "none", "");
}

#[tokio::test]
async fn tables_that_nobody_vacuums_are_warned_of() {
    let url = database().await;
    execute(&url, "ALTER TABLE replicas SET (autovacuum_enabled = false)").await;
    let found = visit(&url, &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.says("database.autovacuum", "warning", "leaves out table replicas", "RESET (autovacuum_enabled)");
}

#[tokio::test]
async fn keys_that_the_master_key_does_not_open_are_named() {
    let url = database().await;
    drop(Process::start(BINARY, &url, &[]).await);
    let (kid,): (String,) = sqlx::query_as("SELECT kid FROM keys WHERE purpose = 'access_token' AND stage = 'active'")
        .fetch_one(&mut connect(&url).await)
        .await
        .expect("a key");
    let lost = visit_with(&url, &[], &[("COUNTERSIGN_MASTER_KEY", OTHER_KEY)]);
    assert_eq!(lost.code, Some(2));
    lost.says("keys.master", "error", &format!("access_token {kid}"), "the master key that sealed them");
    assert!(!lost.text.contains(OTHER_KEY) && !lost.text.contains(MASTER_KEY), "no secret is said");
    let both = format!("{OTHER_KEY}\n{MASTER_KEY}");
    let found = visit_with(&url, &[], &[("COUNTERSIGN_MASTER_KEY", &both)]);
    found.says("keys.master", "hint", &format!("access_token {kid}"), "countersign keys reseal");
    let none = visit_with(&url, &[], &[]);
    none.says("keys.master", "error", "master-key-file: needed", "generate-master");
}

#[tokio::test]
async fn a_replica_that_is_silent_is_named() {
    let url = database().await;
    let server = Process::start(BINARY, &url, &["--max-staleness", "5m"]).await;
    server.pause();
    let found = visit(&url, &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.says("replicas", "warning", "is silent", "");
    server.resume();
    visit(&url, &[]).says(
        "replicas",
        "hint",
        "has a bound of 5m, and the settings here 30s",
        "COUNTERSIGN_MAX_STALENESS",
    );
}

#[tokio::test]
async fn settings_that_are_wrong_are_named_and_the_rest_is_checked() {
    let url = database().await;
    let variables =
        [("COUNTERSIGN_MASTER_KEY", MASTER_KEY), ("COUNTERSIGN_ISUER", "x"), ("COUNTERSIGN_SERVICE_HOST", "x")];
    let found = visit_with(&url, &["--leeway", "1h"], &variables);
    assert_eq!(found.code, Some(2));
    found.says("settings", "error", "leeway: 0s to 10s", "docs/settings.md");
    found.says(
        "settings.variables",
        "warning",
        "COUNTERSIGN_ISUER is no setting",
        "perhaps COUNTERSIGN_ISSUER is meant",
    );
    assert_eq!(found.severities("settings.variables").len(), 1, "{}", found.text);
    found.says("database.reachable", "ok", "answers", "");
}

#[tokio::test]
async fn files_with_secrets_are_for_their_owner_alone() {
    let url = database().await;
    let (key, token, policy) = (Scratch::of(MASTER_KEY), Scratch::of(ADMIN_TOKEN), Scratch::of("[[routes]]\nx = 1\n"));
    let files = ["--master-key-file", key.text(), "--admin-token-file", token.text()];
    visit_with(&url, &files, &[]).is_well();
    for (path, mode) in [(key.text(), 0o640), (token.text(), 0o604)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("opened");
    }
    let found = visit_with(&url, &files, &[]);
    assert_eq!(found.code, Some(1), "{}", found.text);
    found.says(
        "files.secrets",
        "warning",
        &format!("master-key-file: {} has mode 640: its group", key.text()),
        "chmod 600",
    );
    found.says("files.secrets", "warning", "has mode 604: anybody", token.text());
    let found = visit(&url, &["--policy-file", policy.text()]);
    assert_eq!(found.code, Some(2));
    found.says("policy.file", "error", policy.text(), "countersign policy check");
    fs::set_permissions(policy.text(), Permissions::from_mode(0o666)).expect("opened");
    policy.write("[[callers]]\nid = \"dns:a.example\"\nrpcs = [\"Verify\"]\n");
    fs::set_permissions(policy.text(), Permissions::from_mode(0o666)).expect("opened");
    visit(&url, &["--policy-file", policy.text()]).says("policy.file", "warning", "has mode 666", "chmod go-w");
}

#[tokio::test]
async fn certificates_are_checked_with_their_keys() {
    let url = database().await;
    let authority = Authority::new();
    let (good, other, old) = (authority.issue(&["a"]), authority.issue(&["b"]), authority.issue_expired(&["c"]));
    let tls = |pem: &str, key: &str| {
        let (pem, key) = (Scratch::of(pem), Scratch::of(key));
        let mut command = doctor();
        command.args(["--json", "--database-url", &url, "--tls-cert-file", pem.text()]);
        command.args(["--tls-key-file", key.text()]).env("COUNTERSIGN_MASTER_KEY", MASTER_KEY);
        let output = command.output().expect("it runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let findings = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        Visit { code: output.status.code(), findings, text }
    };
    let found = tls(&good.pem, &good.key);
    found.is_well();
    found.says("tls.key", "ok", "is that of the certificate", "");
    let found = tls(&good.pem, &other.key);
    assert_eq!(found.code, Some(2));
    found.says("tls.key", "error", "tls-key-file: the key and the certificate", "");
    let found = tls(&old.pem, &old.key);
    assert_eq!(found.code, Some(2), "{}", found.text);
    found.says("tls.certificate", "error", "has ended at 1975-01-01T01:00:00Z", "renew it");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error() {
    let found = visit(&database().await, &["--http", "http://127.0.0.1:1"]);
    assert_eq!(found.code, Some(2));
    found.says("server.ready", "error", "127.0.0.1:1 refused the connection", "docs/operating.md");
}
