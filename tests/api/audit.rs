//! Audit events: what is done leaves one, by whoever did it; what fails leaves none; refusals are counted; nothing is a
//! secret.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use countersign::{
    auth::Page,
    domain::audit::{Failure, Kind},
    domain::key::Purpose,
    domain::policy::SessionLimitAction,
    grpc::v1::{
        ClientInfo, CreateUserRequest, DeleteUserRequest, ImportUsersRequest, ImportedUser, LoginRequest,
        RefreshRequest, Roles, SetPasswordRequest, UpdateUserRequest, revoke_request::Target,
    },
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{PASSWORD, Proxy, Setup, TestServer, User, administering, live_sessions, refusal};

const OTHER_PASSWORD: &str = "another horse battery staple";
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

async fn connect(server: &TestServer) -> PgConnection {
    PgConnection::connect(&server.database_url).await.expect("connect")
}

/// The events but those of keys, in the order of transactions, because the clock stands still: kind, actor, name, reason, detail, count.
async fn events(server: &TestServer) -> Vec<String> {
    let listing = "SELECT concat_ws(' ', kind, actor, username, NULLIF(reason, ''), NULLIF(detail, ''), NULLIF(count, 1)) \
                   FROM audit_events WHERE kind NOT LIKE 'key%' ORDER BY xmin::text::bigint, id";
    sqlx::query_scalar(listing).fetch_all(&mut connect(server).await).await.expect("listed")
}

/// Those of keys.
async fn key_events(server: &TestServer) -> Vec<(String, String, String)> {
    let listing = "SELECT kind, actor, detail FROM audit_events WHERE kind LIKE 'key%' ORDER BY xmin::text::bigint, id";
    sqlx::query_as(listing).fetch_all(&mut connect(server).await).await.expect("listed")
}

/// Deletes what was noted so far, so that a test sees what comes next.
async fn forget(server: &TestServer) {
    connect(server).await.execute("DELETE FROM audit_events").await.expect("deleted");
}

/// The refusals once `count` of them are written: reason, name, address, count.
async fn refusals(server: &TestServer, count: i64) -> Vec<(String, Option<String>, String, i64)> {
    let written = async {
        loop {
            // The server writes them too, once a second.
            server.auth.base.audit.write_refusals().await.expect("written");
            let listing = "SELECT reason, username, client_ip, sum(count)::bigint FROM audit_events \
                           WHERE kind LIKE '%failed' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
            let rows: Vec<(String, Option<String>, String, i64)> =
                sqlx::query_as(listing).fetch_all(&mut connect(server).await).await.expect("listed");
            let total: i64 = rows.iter().map(|row| row.3).sum();
            if total >= count {
                return rows;
            }
        }
    };
    timeout(Duration::from_secs(60), written).await.expect("they are written")
}

fn from(ip: &str, name: &str, password: &str) -> LoginRequest {
    let client = ClientInfo { ip: ip.into(), user_agent: "curl/8".into(), device: "laptop".into() };
    LoginRequest { username: name.into(), password: password.into(), client: Some(client), ..Default::default() }
}

async fn refused(server: &TestServer, request: LoginRequest) -> String {
    refusal(server.auth_client().login(request).await).1
}

#[tokio::test]
async fn a_login_leaves_an_event_with_what_the_caller_said_of_the_client() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let answer = server.auth_client().login(from("192.0.2.7", "alice", PASSWORD)).await.expect("logged in");
    let tokens = answer.into_inner().tokens.expect("tokens");
    assert_eq!(events(&server).await, ["user_created administrator alice reader", "login_succeeded user alice"]);
    let row: (String, String, String, String, String) = sqlx::query_as(
        "SELECT user_id::text, session_id::text, client_ip, client_user_agent, client_device FROM audit_events \
         WHERE kind = 'login_succeeded'",
    )
    .fetch_one(&mut connect(&server).await)
    .await
    .expect("one");
    let said = ["192.0.2.7", "curl/8", "laptop"].map(str::to_owned);
    assert_eq!(row, (alice.id, tokens.session_id, said[0].clone(), said[1].clone(), said[2].clone()));
}

#[tokio::test]
async fn refusals_are_counted_by_reason_and_no_name_is_kept_that_nobody_has() {
    let mut setup = Setup::new().await;
    setup.settings.throttling.login_failures = 2;
    setup.settings.sessions.max_sessions_per_user = 1;
    setup.settings.sessions.session_limit_action = SessionLimitAction::Refuse;
    let server = setup.start().await;
    let (alice, bob, carol) = (server.user("alice").await, server.user("bob").await, server.user("carol").await);
    for _ in 0..3 {
        refused(&server, from("192.0.2.7", "alice", "wrong")).await;
    }
    refused(&server, from("192.0.2.7", "hunter2-typed-as-a-name", "wrong")).await;
    let disable = UpdateUserRequest { user_id: bob.id, disabled: Some(true), ..Default::default() };
    server.user_client().update_user(administering(disable)).await.expect("disabled");
    assert_eq!(refused(&server, from("", "bob", PASSWORD)).await, "INVALID_CREDENTIALS");
    carol.login().await;
    assert_eq!(refused(&server, from("", "carol", PASSWORD)).await, "SESSION_LIMIT_REACHED");
    let change = alice.change_password(OTHER_PASSWORD, "");
    assert_eq!(refusal(server.user_client().change_password(change).await).1, "LOGIN_THROTTLED");
    let row = |reason: &str, name: Option<&str>, ip: &str, count| {
        (reason.to_owned(), name.map(str::to_owned), ip.to_owned(), count)
    };
    assert_eq!(
        refusals(&server, 7).await,
        [
            row("session_limit", Some("carol"), "", 1),
            row("throttled", Some("alice"), "", 1),
            row("throttled", Some("alice"), "192.0.2.7", 1),
            row("unknown_user", None, "192.0.2.7", 1),
            row("user_disabled", Some("bob"), "", 1),
            row("wrong_password", Some("alice"), "192.0.2.7", 2),
        ]
    );
    let typed = "SELECT count(*) FROM audit_events e WHERE e::text LIKE '%hunter2%' OR e::text LIKE '%wrong password%'";
    let found: i64 = sqlx::query_scalar(typed).fetch_one(&mut connect(&server).await).await.expect("counted");
    assert_eq!(found, 0);
    let failed: Vec<String> = events(&server).await.into_iter().filter(|e| e.contains("change_failed")).collect();
    assert_eq!(failed, ["password_change_failed user alice throttled"]);
}

#[tokio::test]
async fn refusals_outlive_an_outage_and_a_stop() {
    let mut setup = Setup::new().await;
    let url = setup.database_url.clone();
    let proxy = Proxy::before(&url);
    setup.database_url = proxy.url();
    let server = setup.start().await;
    server.user("alice").await;
    assert_eq!(refused(&server, from("", "alice", "wrong")).await, "INVALID_CREDENTIALS");
    proxy.cut();
    drop(server.auth.base.audit.write_refusals().await);
    proxy.mend();
    let one = [("wrong_password".to_owned(), Some("alice".to_owned()), String::new(), 1)];
    assert_eq!(refusals(&server, 1).await, one);
    assert_eq!(refused(&server, from("", "alice", "wrong")).await, "INVALID_CREDENTIALS");
    server.stop().await.expect("stopped");
    let written = "SELECT sum(count)::bigint FROM audit_events WHERE kind = 'login_failed'";
    let mut connection = PgConnection::connect(&url).await.expect("connect");
    let count: i64 = sqlx::query_scalar(written).fetch_one(&mut connection).await.expect("counted");
    assert_eq!(count, 2);
}

#[tokio::test]
async fn who_ended_sessions_is_told_and_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let [by_token, by_id, _by_user] = [alice.login().await, alice.login().await, alice.login().await];
    forget(&server).await;
    for target in [
        Target::RefreshToken(by_token.refresh_token),
        Target::SessionId(by_id.session_id.clone()),
        // Once more changes nothing.
        Target::SessionId(by_id.session_id),
        Target::UserId(alice.id.clone()),
    ] {
        alice.revoke(target).await.expect("revoked");
    }
    assert_eq!(
        events(&server).await,
        [
            "session_ended user alice logout",
            "session_ended administrator alice revoked",
            "sessions_ended administrator alice revoked"
        ]
    );
}

#[tokio::test]
async fn the_end_of_one_session_names_it_and_why() {
    let mut setup = Setup::new().await;
    setup.settings.sessions.max_sessions_per_user = 2;
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let logged_out = alice.login().await;
    alice.revoke(Target::AccessToken(logged_out.access_token)).await.expect("revoked");
    let first = alice.login().await;
    let second = alice.rotate(&first.refresh_token).await;
    let third = alice.rotate(&second.refresh_token).await;
    alice.rotate(&third.refresh_token).await;
    let client = ClientInfo { ip: "198.51.100.9".into(), ..Default::default() };
    let refresh_token = first.refresh_token.clone();
    let thief = RefreshRequest { refresh_token, client: Some(client), ..Default::default() };
    assert_eq!(refusal(server.auth_client().refresh(thief).await).1, "REFRESH_TOKEN_REUSED");
    let from = "SELECT client_ip FROM audit_events WHERE kind = 'refresh_token_reused'";
    let ip: String = sqlx::query_scalar(from).fetch_one(&mut connect(&server).await).await.expect("one");
    assert_eq!(ip, "198.51.100.9", "of who presented it, not of the session");
    let oldest = alice.login().await;
    for _ in 0..2 {
        server.clock.advance(Duration::from_millis(2));
        alice.login().await;
    }
    let ends: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT kind, actor, reason, session_id::text FROM audit_events WHERE reason <> '' ORDER BY xmin::text::bigint, id",
    )
    .fetch_all(&mut connect(&server).await)
    .await
    .expect("listed");
    let row = |kind: &str, actor: &str, reason: &str, session: &str| {
        (kind.to_owned(), actor.to_owned(), reason.to_owned(), session.to_owned())
    };
    assert_eq!(
        ends,
        [
            row("session_ended", "user", "logout", &logged_out.session_id),
            row("refresh_token_reused", "server", "reuse", &first.session_id),
            row("session_ended", "server", "session_limit", &oldest.session_id),
        ]
    );
    assert_eq!(live_sessions(&server).await, 2);
}

/// What administrators do with a user, from its creation to its end.
async fn administer(server: &TestServer, alice: &User) {
    let mut client = server.user_client();
    let update = |roles: Option<Roles>, disabled| UpdateUserRequest {
        user_id: alice.id.clone(),
        roles,
        disabled,
        ..Default::default()
    };
    let roles = Roles { names: vec!["admin".into(), "reader".into()] };
    alice.login().await;
    for _ in 0..2 {
        client.update_user(administering(update(Some(roles.clone()), None))).await.expect("updated");
    }
    for _ in 0..2 {
        client.update_user(administering(update(None, Some(true)))).await.expect("disabled");
    }
    client.update_user(administering(update(None, Some(false)))).await.expect("enabled");
    alice.login().await;
    client.change_password(alice.change_password(OTHER_PASSWORD, "")).await.expect("changed");
    let set = SetPasswordRequest { user_id: alice.id.clone(), password: PASSWORD.to_owned() };
    client.set_password(administering(set)).await.expect("set");
    let delete = DeleteUserRequest { user_id: alice.id.clone() };
    client.delete_user(administering(delete)).await.expect("deleted");
}

#[tokio::test]
async fn each_change_of_a_user_leaves_an_event_that_outlives_it() {
    let server = TestServer::start().await;
    administer(&server, &server.user("alice").await).await;
    assert_eq!(
        events(&server).await,
        [
            "user_created administrator alice reader",
            "login_succeeded user alice",
            "roles_changed administrator alice admin,reader",
            "user_disabled administrator alice",
            "user_enabled administrator alice",
            "login_succeeded user alice",
            "password_changed user alice",
            "password_changed administrator alice 0",
            "user_deleted administrator alice",
        ]
    );
}

#[tokio::test]
async fn what_does_not_happen_leaves_no_event() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    forget(&server).await;
    let again = CreateUserRequest { username: "alice".into(), password: PASSWORD.into(), roles: vec![] };
    assert_eq!(refusal(server.user_client().create_user(administering(again)).await).1, "USERNAME_TAKEN");
    let user = ImportedUser { username: "alice".into(), password_hash: BCRYPT.into(), ..Default::default() };
    let import = |dry_run, users| administering(tokio_stream::once(ImportUsersRequest { dry_run, users }));
    server.user_client().import_users(import(false, vec![user.clone()])).await.expect("passed over");
    let bob = ImportedUser { username: "bob".into(), ..user.clone() };
    server.user_client().import_users(import(true, vec![bob.clone()])).await.expect("tried");
    // A table that cannot be written to: neither can what should be told of.
    let mut connection = connect(&server).await;
    connection.execute("ALTER TABLE audit_events ADD CONSTRAINT no CHECK (false) NOT VALID").await.expect("closed");
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, "INTERNAL");
    assert_eq!(live_sessions(&server).await, 0);
    connection.execute("ALTER TABLE audit_events DROP CONSTRAINT no").await.expect("opened");
    assert_eq!(events(&server).await, [""; 0]);
    let carol = ImportedUser { username: "carol".into(), ..user };
    server.user_client().import_users(import(false, vec![bob, carol])).await.expect("imported");
    assert_eq!(events(&server).await, ["users_imported administrator 2"]);
}

#[tokio::test]
async fn changes_of_keys_leave_events() {
    let server = TestServer::start().await;
    let made = key_events(&server).await;
    assert_eq!(made.len(), 4, "one that signs and one that will, for each purpose");
    assert!(made.iter().all(|(kind, actor, _)| kind == "key_created" && actor == "server"), "{made:?}");
    server.pass(Duration::from_secs(3600 + 600)).await;
    forget(&server).await;
    let command_line = Setup::on(server.database_url.clone(), server.clock.clone()).without_start();
    let kid = command_line.keys.rotate(Purpose::AccessToken).await.expect("rotated");
    command_line.keys.kill(&kid).await.expect("killed");
    let events = key_events(&server).await;
    let detail = format!("access_token {kid}");
    let told: Vec<(&str, &str)> = events.iter().map(|(kind, actor, _)| (kind.as_str(), actor.as_str())).collect();
    assert_eq!(told.first(), Some(&("key_activated", "command_line")));
    assert!(told.contains(&("key_killed", "command_line")) && told.contains(&("key_created", "command_line")));
    assert_eq!(events.iter().filter(|(_, _, d)| *d == detail).count(), 2, "{events:?}");
}

#[tokio::test]
async fn reading_all_hashes_or_all_peppers_leaves_an_event() {
    let server = TestServer::start().await;
    let command_line = Setup::on(server.database_url.clone(), server.clock.clone()).without_start();
    command_line.users.export(Page { after: Uuid::nil(), size: 10 }).await.expect("exported");
    command_line.keys.export_peppers().await.expect("exported");
    assert_eq!(events(&server).await, ["users_exported command_line", "peppers_exported command_line"]);
}

#[tokio::test]
async fn old_events_are_deleted_and_no_clock_alone_makes_them_old() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    forget(&server).await;
    alice.login().await;
    let mut connection = connect(&server).await;
    // More than one statement takes.
    let old = "INSERT INTO audit_events (id, at, kind, actor) SELECT \
               ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, now() - interval '91 days', 'old', 'server' \
               FROM generate_series(1, 12000) n";
    connection.execute(old).await.expect("inserted");
    server.auth.base.audit.delete_old().await.expect("deleted");
    assert_eq!(events(&server).await, ["login_succeeded user alice"]);
    server.clock.advance(Duration::from_secs(200 * 86_400));
    server.auth.base.audit.delete_old().await.expect("deleted");
    assert_eq!(events(&server).await, ["login_succeeded user alice"], "the database's clock says otherwise");
}

#[tokio::test]
async fn refusals_are_deleted_sooner_than_what_was_done() {
    let server = TestServer::start().await;
    forget(&server).await;
    let old = "INSERT INTO audit_events (id, at, kind, actor) SELECT \
               ('00000000-0000-7000-8000-' || lpad(row_number() OVER (ORDER BY days DESC)::text, 12, '0'))::uuid, \
               now() - days * interval '1 day', kind, 'user' FROM generate_series(31, 29, -2) days, \
               unnest('{login_failed,password_change_failed,administration_refused,caller_refused,login_succeeded}'::text[]) kind, \
               generate_series(1, 3000)";
    connect(&server).await.execute(old).await.expect("inserted");
    server.auth.base.audit.delete_old().await.expect("deleted");
    let left = "SELECT kind, count(*) FROM audit_events GROUP BY 1 ORDER BY 1";
    let left: Vec<(String, i64)> = sqlx::query_as(left).fetch_all(&mut connect(&server).await).await.expect("counted");
    let expected = [
        ("administration_refused", 3000),
        ("caller_refused", 3000),
        ("login_failed", 3000),
        ("login_succeeded", 6000),
        ("password_change_failed", 3000),
    ];
    assert_eq!(left, expected.map(|(kind, count)| (kind.to_owned(), count)));
}

#[tokio::test]
async fn a_flood_of_refusals_writes_few_rows_however_long_it_lasts_and_loses_none() {
    let server = TestServer::start().await;
    forget(&server).await;
    let audit = &server.auth.base.audit;
    let rows = async || {
        let rows = "SELECT count(*), COALESCE(sum(count), 0)::bigint FROM audit_events WHERE kind = 'login_failed'";
        sqlx::query_as::<_, (i64, i64)>(rows).fetch_one(&mut connect(&server).await).await.expect("counted")
    };
    let mut sent = 0;
    for _ in 0..40 {
        for n in 0..200 {
            audit.refused(Kind::LoginFailed, None, format!("192.0.2.{n}"), Failure::UnknownUser);
            sent += 1;
        }
        audit.write_refusals().await.expect("written");
    }
    let (written, counted) = rows().await;
    assert!(written <= 3601 && counted < sent, "{written} rows, {counted} of {sent}");
    server.clock.advance(Duration::from_secs(60));
    audit.write_refusals().await.expect("written");
    let all = async { while rows().await.1 < sent {} };
    timeout(Duration::from_secs(60), all).await.expect("a minute later");
    assert!(rows().await.0 <= 3603);
    audit.refused(Kind::LoginFailed, None, String::new(), Failure::UnknownUser);
    audit.write_last_refusals().await.expect("written");
    let last = async { while rows().await.1 < sent + 1 {} };
    timeout(Duration::from_secs(60), last).await.expect("at the end");
}

fn tail(server: &TestServer, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["audit", "tail", "--database-url", &server.database_url]).args(args);
    command
}

fn lines(server: &TestServer, args: &[&str]) -> Vec<String> {
    let output = tail(server, args).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_the_newest_events_of_a_user() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    server.user("bob").await.login().await;
    server.clock.advance(Duration::from_millis(2));
    let tokens = alice.login().await;
    server.clock.advance(Duration::from_millis(2));
    alice.revoke(Target::RefreshToken(tokens.refresh_token)).await.expect("revoked");
    let shown = lines(&server, &["--user", "ALICE", "-n", "2"]);
    assert_eq!(shown.len(), 2);
    assert!(shown[0].contains("login_succeeded") && shown[1].contains("session_ended"), "{shown:?}");
    assert!(shown[1].contains(&format!("user=alice  session={}  reason=logout", tokens.session_id)), "{shown:?}");
    let json: serde_json::Value = serde_json::from_str(&lines(&server, &["--json", "-n", "1"])[0]).expect("JSON");
    assert_eq!((&json["kind"], &json["user_id"]), (&"session_ended".into(), &alice.id.clone().into()));
    assert_eq!(lines(&server, &["--user", "nobody"]), [""; 0]);
    assert_eq!(lines(&server, &["-n", "0"]), [""; 0]);
    let refused = tail(&server, &["--user", "not a name"]).output().expect("it runs");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("username"));
}

/// A running `tail` and the lines that it writes; it ends with the test.
struct Following(Child, Receiver<String>);

impl Following {
    fn start(server: &TestServer, args: &[&str]) -> Self {
        let mut child = tail(server, args).arg("--follow").stdout(Stdio::piped()).spawn().expect("it runs");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = mpsc::channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self(child, lines)
    }

    fn next_line(&self) -> String {
        self.1.recv_timeout(Duration::from_secs(60)).expect("a line in time")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

/// An event may become visible after later ones: its transaction took longer.
#[tokio::test(flavor = "multi_thread")]
async fn tail_follows_and_shows_each_event_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut slow = connect(&server).await;
    let insert = "BEGIN; INSERT INTO audit_events (id, at, kind, actor, username) SELECT (substr(id::text, 1, 15) || \
                  '000-8000-000000000000')::uuid, at, 'late', 'server', 'alice' FROM audit_events WHERE username = 'alice'";
    slow.execute(insert).await.expect("not committed yet");
    let following = Following::start(&server, &["--user", "alice", "-n", "1"]);
    assert!(following.next_line().contains("user_created"));
    server.clock.advance(Duration::from_millis(2));
    alice.login().await;
    assert!(following.next_line().contains("login_succeeded"));
    slow.execute("COMMIT").await.expect("committed");
    assert!(following.next_line().contains("late"));
    server.clock.advance(Duration::from_millis(2));
    alice.login().await;
    assert!(following.next_line().contains("login_succeeded"));
}

/// A token is not told to whoever reads the events (REQUIREMENTS R63).
#[tokio::test]
async fn r63_no_event_holds_a_token_a_password_or_a_hash() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let rotated = alice.rotate(&tokens.refresh_token).await;
    administer(&server, &alice).await;
    let mut connection = connect(&server).await;
    let secrets = [&tokens.access_token, &tokens.refresh_token, &rotated.refresh_token, PASSWORD, OTHER_PASSWORD];
    for secret in secrets.into_iter().chain(["$argon2id$"]) {
        let holding = "SELECT count(*) FROM audit_events e WHERE strpos(e::text, $1) > 0";
        let found: i64 = sqlx::query_scalar(holding).bind(secret).fetch_one(&mut connection).await.expect("counted");
        assert_eq!(found, 0);
    }
}
