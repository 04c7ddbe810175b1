//! Audit events of a call carry the names that its caller gave it, and never those of another call.

use std::{collections::HashMap, process::Command, time::Duration};

use countersign::{
    domain::policy::{BrowserSessions, ForwardAuth},
    grpc::v1::{
        CreateUserRequest, DeleteUserRequest, ImportUsersRequest, ImportedUser, LoginRequest, RefreshRequest,
        RevokeRequest, Roles, SetPasswordRequest, UpdateUserRequest, revoke_request::Target,
    },
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::{JoinHandle, yield_now};
use tonic::Request;

use crate::{
    envoy::{check, question},
    http_client::http,
    support::{PASSWORD, Setup, TestServer, User, administering, live_sessions, refusal, somebody_waits},
};

const OTHER_PASSWORD: &str = "another horse battery staple";
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

async fn connect(server: &TestServer) -> PgConnection {
    PgConnection::connect(&server.database_url).await.expect("connect")
}

/// The id of a trace that belongs to a request id of 16 characters at most.
fn trace(id: &str) -> String {
    format!("{:0>32}", id.bytes().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn traceparent(id: &str) -> String {
    format!("00-{}-00f067aa0ba902b7-01", trace(id))
}

/// The request of an administrator who names it.
fn named<T>(id: &str, request: T) -> Request<T> {
    let mut request = administering(request);
    request.metadata_mut().insert("x-request-id", id.parse().expect("metadata"));
    request.metadata_mut().insert("traceparent", traceparent(id).parse().expect("metadata"));
    request
}

fn login(password: &str) -> LoginRequest {
    LoginRequest { username: "alice".into(), password: password.into(), ..Default::default() }
}

fn revoke(target: Target) -> RevokeRequest {
    RevokeRequest { target: Some(target), ..Default::default() }
}

/// The events but those of keys: kind, and the request id. The trace is that of the same call.
async fn names(server: &TestServer) -> Vec<(String, Option<String>)> {
    let listing = "SELECT kind, request_id, trace_id FROM audit_events WHERE kind NOT LIKE 'key%' \
                   ORDER BY xmin::text::bigint, kind";
    let rows: Vec<(String, Option<String>, Option<String>)> =
        sqlx::query_as(listing).fetch_all(&mut connect(server).await).await.expect("listed");
    let checked = rows.into_iter().map(|(kind, request_id, trace_id)| {
        assert_eq!(trace_id, request_id.as_deref().map(trace), "{kind}");
        (kind, request_id)
    });
    checked.collect()
}

fn row(kind: &str, id: &str) -> (String, Option<String>) {
    (kind.to_owned(), Some(id.to_owned()).filter(|id| !id.is_empty()))
}

#[tokio::test]
async fn each_event_carries_the_names_of_the_call_that_did_it() {
    let server = TestServer::start().await;
    let (mut users, mut auth) = (server.user_client(), server.auth_client());
    let create = CreateUserRequest { username: "alice".into(), password: PASSWORD.into(), roles: vec![] };
    let alice = users.create_user(named("create", create)).await.expect("created").into_inner().user.expect("a user");
    let tokens = auth.login(named("login", login(PASSWORD))).await.expect("in").into_inner().tokens.expect("tokens");
    auth.login(named("stays", login(PASSWORD))).await.expect("in");
    let target = Target::SessionId(tokens.session_id);
    auth.revoke(named("revoke", revoke(target.clone()))).await.expect("revoked");
    auth.revoke(named("again", revoke(target))).await.expect("it has ended");
    auth.revoke(named("all", revoke(Target::UserId(alice.user_id.clone())))).await.expect("revoked");
    let set = SetPasswordRequest { user_id: alice.user_id.clone(), password: OTHER_PASSWORD.into() };
    users.set_password(named("set", set)).await.expect("set");
    let mut update = UpdateUserRequest { user_id: alice.user_id.clone(), ..Default::default() };
    update.roles = Some(Roles { names: vec!["admin".into()] });
    update.disabled = Some(true);
    users.update_user(named("update", update)).await.expect("updated");
    users.delete_user(named("delete", DeleteUserRequest { user_id: alice.user_id })).await.expect("deleted");
    let bob = ImportedUser { username: "bob".into(), password_hash: BCRYPT.into(), ..Default::default() };
    let import = tokio_stream::once(ImportUsersRequest { dry_run: false, users: vec![bob] });
    users.import_users(named("import", import)).await.expect("imported");
    assert_eq!(
        names(&server).await,
        [
            row("user_created", "create"),
            row("login_succeeded", "login"),
            row("login_succeeded", "stays"),
            row("session_ended", "revoke"),
            row("sessions_ended", "all"),
            row("password_changed", "set"),
            row("roles_changed", "update"),
            row("user_disabled", "update"),
            row("user_deleted", "delete"),
            row("users_imported", "import"),
        ]
    );
}

#[tokio::test]
async fn an_event_of_a_call_without_names_has_none() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut unreadable = Request::new(login(PASSWORD));
    unreadable.metadata_mut().insert("x-request-id", "two words".parse().expect("metadata"));
    unreadable.metadata_mut().insert("traceparent", "00-0-0-00".parse().expect("metadata"));
    server.auth_client().login(unreadable).await.expect("logged in");
    // Named calls on the same connection before and after.
    server.auth_client().login(named("one", login(PASSWORD))).await.expect("logged in");
    alice.revoke(Target::SessionId(tokens.session_id)).await.expect("revoked");
    server.auth_client().login(named("two", login(PASSWORD))).await.expect("logged in");
    server.user_client().delete_user(administering(DeleteUserRequest { user_id: alice.id })).await.expect("deleted");
    assert_eq!(
        names(&server).await,
        [
            row("user_created", ""),
            row("login_succeeded", ""),
            row("login_succeeded", ""),
            row("login_succeeded", "one"),
            row("session_ended", ""),
            row("login_succeeded", "two"),
            row("sessions_ended", ""),
            row("user_deleted", ""),
        ]
    );
}

#[tokio::test]
async fn a_trace_or_a_request_id_alone_is_kept() {
    let server = TestServer::start().await;
    server.user("alice").await;
    for (name, value) in [("x-request-id", "only".to_owned()), ("traceparent", traceparent("only"))] {
        let mut request = Request::new(login(PASSWORD));
        request.metadata_mut().insert(name, value.parse().expect("metadata"));
        server.auth_client().login(request).await.expect("logged in");
    }
    let listing = "SELECT request_id, trace_id FROM audit_events WHERE kind = 'login_succeeded' ORDER BY request_id";
    let rows: Vec<(Option<String>, Option<String>)> =
        sqlx::query_as(listing).fetch_all(&mut connect(&server).await).await.expect("listed");
    assert_eq!(rows, [(Some("only".to_owned()), None), (None, Some(trace("only")))]);
}

#[tokio::test]
async fn refusals_stand_for_many_calls_and_carry_the_names_of_none() {
    let server = TestServer::start().await;
    server.user("alice").await;
    for id in ["one", "two", "three"] {
        assert_eq!(refusal(server.auth_client().login(named(id, login("wrong"))).await).1, "INVALID_CREDENTIALS");
    }
    let rows = async || {
        server.auth.base.audit.write_refusals().await.expect("written");
        let rows = "SELECT sum(count)::bigint, count(request_id), count(trace_id) FROM audit_events WHERE kind = 'login_failed'";
        sqlx::query_as(rows).fetch_one(&mut connect(&server).await).await.expect("counted")
    };
    let mut seen: (Option<i64>, i64, i64) = rows().await;
    while seen.0 != Some(3) {
        // The server writes them too, once a second.
        seen = rows().await;
    }
    assert_eq!((seen.1, seen.2), (0, 0));
}

/// Number of calls of this kind at once.
const AT_ONCE: usize = 24;

/// Ends a session by a call of that name, or of none. Says how many it ended.
fn end(server: &TestServer, session_id: &str, id: &str) -> JoinHandle<i32> {
    let mut client = server.auth_client();
    let request = revoke(Target::SessionId(session_id.to_owned()));
    let request = if id.is_empty() { administering(request) } else { named(id, request) };
    tokio::spawn(async move { client.revoke(request).await.expect("revoked").into_inner().sessions_revoked })
}

/// Which call, by its name, wrote the event of each session.
async fn by_session(server: &TestServer, kind: &str) -> HashMap<String, Option<String>> {
    let listing = "SELECT session_id::text, request_id FROM audit_events WHERE kind = $1";
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as(listing).bind(kind).fetch_all(&mut connect(server).await).await.expect("listed");
    names(server).await;
    let (count, events) = (rows.len(), rows.into_iter().collect::<HashMap<_, _>>());
    assert_eq!(count, events.len(), "one for each session");
    events
}

/// Opens sessions side by side, each by a call of its own name; the name of each.
async fn open_side_by_side(server: &TestServer) -> HashMap<String, Option<String>> {
    let log_in = |n: usize| {
        let (mut client, id) = (server.auth_client(), format!("login-{n}"));
        tokio::spawn(async move {
            let answer = client.login(named(&id, login(PASSWORD))).await.expect("logged in");
            (answer.into_inner().tokens.expect("tokens").session_id, Some(id))
        })
    };
    let logins: Vec<_> = (0..AT_ONCE).map(log_in).collect();
    let mut opened = HashMap::new();
    for login in logins {
        opened.extend([login.await.expect("joined")]);
    }
    opened
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_side_by_side_never_take_the_names_of_each_other() {
    let server = TestServer::start().await;
    server.user("alice").await;
    let opened = open_side_by_side(&server).await;
    assert_eq!(by_session(&server, "login_succeeded").await, opened);
    let mut head = connect(&server).await;
    head.execute("BEGIN; UPDATE revocation_head SET seq = seq").await.expect("locked");
    let mut sessions = opened.keys();
    let (first, unnamed, twice) = (sessions.next().expect("one"), sessions.next().expect("two"), sessions.next());
    let twice = twice.expect("three");
    let mut ending = vec![(first, "end-first".to_owned(), end(&server, first, "end-first"))];
    somebody_waits(&server.database_url).await;
    // All others go with one statement, which one of them carries out.
    let mut queued = vec![(unnamed, String::new())];
    queued.extend(["end-one", "end-two", "end-three"].map(|id| (twice, id.to_owned())));
    queued.extend(sessions.map(|session| (session, format!("end-{}", &session[24..]))));
    let count = queued.len();
    ending.extend(queued.into_iter().map(|(session, id)| {
        let under_way = end(&server, session, &id);
        (session, id, under_way)
    }));
    while server.auth.sessions.ending().len() < count {
        yield_now().await;
    }
    head.execute("COMMIT").await.expect("released");
    let mut expected = HashMap::new();
    for (session, id, under_way) in ending {
        // Of several that end one session, the event names the one that is told so.
        if under_way.await.expect("joined") == 1 {
            expected.insert(session.clone(), Some(id).filter(|id| !id.is_empty()));
        }
    }
    assert_eq!((expected.len(), live_sessions(&server).await), (AT_ONCE, 0));
    assert_eq!(by_session(&server, "session_ended").await, expected);
}

/// The refresh token of a session that has gone on since.
async fn stolen(alice: &User) -> String {
    let first = alice.login().await.refresh_token;
    let second = alice.rotate(&first).await.refresh_token;
    let third = alice.rotate(&second).await.refresh_token;
    alice.rotate(&third).await;
    first
}

/// Where Envoy asks, the names are in its question.
#[tokio::test]
async fn an_event_of_a_check_carries_the_names_of_the_request_that_is_asked_about() {
    let mut setup = Setup::new().await;
    setup.settings.authz.browser_sessions = BrowserSessions::Endpoints;
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let stolen = stolen(&alice).await;
    let cookie = format!("{}={stolen}", server.authz.refresh_cookie);
    let asked = [("cookie", cookie.as_str()), ("x-request-id", "asked"), ("traceparent", &traceparent("asked"))];
    let verdict = check(server.channel(), question("GET", "shop.example.com/", &asked)).await.expect("an answer");
    assert_eq!(verdict.denied().1, "REFRESH_TOKEN_REUSED");
    let reused = names(&server).await.into_iter().filter(|(kind, _)| kind == "refresh_token_reused");
    assert_eq!(reused.collect::<Vec<_>>(), [row("refresh_token_reused", "asked")]);
}

#[tokio::test]
async fn http_names_its_calls_as_grpc_does() {
    let mut setup = Setup::new().await;
    setup.settings.authz.browser_sessions = BrowserSessions::Endpoints;
    setup.settings.authz.forward_auth = ForwardAuth::Token;
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let (by_proxy, by_grpc) = (stolen(&alice).await, stolen(&alice).await);
    connect(&server).await.execute("DELETE FROM audit_events").await.expect("deleted");
    let refresh = |token: &str| format!("{}={token}", server.authz.refresh_cookie);
    let ask = async |request: &str, id: &str, cookie: &str, body: &str| {
        let (id, trace) = (format!("x-request-id: {id}"), format!("traceparent: {}", traceparent(id)));
        let (cookie, json) = (format!("cookie: {cookie}"), b"content-type: application/json");
        let headers: [&[u8]; 5] = [b"host: h", json, id.as_bytes(), trace.as_bytes(), cookie.as_bytes()];
        http(server.http_addr, request, &headers, body.as_bytes()).await
    };
    let typed = serde_json::json!({ "username": "alice", "password": PASSWORD }).to_string();
    let opened = ask("POST /session", "browser-in", "", &typed).await;
    let token = opened.cookie(&server.authz.refresh_cookie).expect("set").to_owned();
    assert_eq!(ask("DELETE /session", "browser-out", &refresh(&token), "").await.status, 200);
    assert_eq!(ask("GET /forward-auth", "proxy", &refresh(&by_proxy), "").await.status, 401);
    let reused = named("grpc", RefreshRequest { refresh_token: by_grpc, ..Default::default() });
    assert_eq!(refusal(server.auth_client().refresh(reused).await).1, "REFRESH_TOKEN_REUSED");
    assert_eq!(
        names(&server).await,
        [
            row("login_succeeded", "browser-in"),
            row("session_ended", "browser-out"),
            row("refresh_token_reused", "proxy"),
            row("refresh_token_reused", "grpc"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_the_names_of_calls() {
    let server = TestServer::start().await;
    server.user("alice").await;
    server.clock.advance(Duration::from_millis(2));
    server.auth_client().login(named("request-4711", login(PASSWORD))).await.expect("logged in");
    let tail = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["audit", "tail", "--database-url", &server.database_url, "--user", "alice"]).args(args);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let text = tail(&[]);
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(!text[0].contains("request=") && !text[0].contains("trace="), "{text:?}");
    assert!(text[1].ends_with(&format!("  request=request-4711  trace={}", trace("request-4711"))), "{text:?}");
    let json: Vec<serde_json::Value> =
        tail(&["--json"]).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(json[0]["request_id"].is_null() && json[0]["trace_id"].is_null(), "{json:?}");
    assert_eq!(json[1]["request_id"], "request-4711");
    assert_eq!(json[1]["trace_id"], trace("request-4711"));
}
