//! No log line holds a secret (REQUIREMENTS R63), whatever is logged.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use countersign::{
    domain::policy::{BrowserSessions, ForwardAuth, PepperMode},
    grpc::v1::{
        CreateUserRequest, ImportUsersRequest, ImportedUser, LoginRequest, RevokeRequest, SetPasswordRequest,
        VerifyRequest, auth_service_client::AuthServiceClient, revoke_request::Target,
        user_service_client::UserServiceClient,
    },
};
use http::uri::PathAndQuery;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::yield_now;
use tonic::Request;
use tracing::{Level, subscriber::DefaultGuard};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    envoy,
    http_client::http,
    support::{
        ADMIN_TOKEN, MASTER_KEY, PASSWORD, Process, Proxy, Scratch, Setup, TestServer, administering, bearer, database,
        refusal, somebody_waits,
    },
};

const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What this thread logs until the guard is dropped.
fn capture(level: Level) -> (Captured, DefaultGuard) {
    let captured = Captured::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(captured.clone()).finish();
    (captured, tracing::subscriber::set_default(subscriber))
}

/// On one thread, so that the subscriber sees all that this server logs and nothing else.
#[tokio::test(flavor = "current_thread")]
async fn r63_no_log_line_holds_a_secret_even_at_trace() {
    // Of a single dispatcher, tracing takes that of whichever thread meets a statement first: here, none of another test's.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let (captured, _guard) = capture(Level::TRACE);
    let mut setup = Setup::new().await.with_admin_token();
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    setup.settings.passwords.password_pepper = PepperMode::On;
    setup.settings.authz.browser_sessions = BrowserSessions::Endpoints;
    setup.settings.authz.forward_auth = ForwardAuth::Token;
    let server = setup.start().await;
    let pepper = server.auth.keys.export_peppers().await.expect("read").peppers.remove(0).export();
    let alice = server.user("alice").await;
    let first = alice.login().await;
    let second = alice.rotate(&first.refresh_token).await;
    alice.verify(&second.access_token).await.expect("valid");
    assert_eq!(refusal(alice.login_with("a wrong password").await).1, "INVALID_CREDENTIALS");
    let unknown = LoginRequest { username: "typed-as-a-name".into(), password: "x".into(), ..Default::default() };
    assert_eq!(refusal(server.auth_client().login(unknown).await).1, "INVALID_CREDENTIALS");
    server.auth.base.audit.write_refusals().await.expect("written");
    let third = alice.rotate(&second.refresh_token).await;
    assert_eq!(refusal(alice.refresh(&first.refresh_token).await).1, "REFRESH_TOKEN_REUSED");
    alice.revoke(Target::AccessToken(third.access_token.clone())).await.expect("revoked");
    let (user_id, password) = (alice.id.clone(), "another horse battery staple".to_owned());
    let set = administering(SetPasswordRequest { user_id, password });
    server.user_client().set_password(set).await.expect("set");
    let bob = ImportedUser { username: "bob".into(), password_hash: BCRYPT.into(), ..Default::default() };
    let import = ImportUsersRequest { dry_run: false, users: vec![bob.clone(), bob] };
    server.user_client().import_users(administering(tokio_stream::once(import))).await.expect("imported");
    let mut cookies = a_browser(&server).await;
    proxy.cut();
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, "DATABASE_UNAVAILABLE");
    let log = captured.text();
    assert!(log.contains("refresh token reused"), "the log was captured");
    let audited = format!("countersign::audit: login_succeeded actor=\"user\" user_id={}", alice.id);
    assert!(log.contains(&audited) && log.contains("refresh_token_reused"), "events are logged");
    assert!(!log.contains("alice") && !log.contains("typed-as-a-name"), "names are not");
    let bearer = bearer().replace("Bearer ", "");
    let mut secrets = vec![
        PASSWORD.to_owned(),
        "a wrong password".to_owned(),
        "$argon2id$".to_owned(),
        BCRYPT.to_owned(),
        bearer,
        MASTER_KEY.to_owned(),
        pepper.expose().to_owned(),
        "another horse battery staple".to_owned(),
    ];
    secrets.append(&mut cookies);
    for tokens in [first, second, third] {
        secrets.extend([tokens.access_token, tokens.refresh_token]);
    }
    for secret in secrets {
        assert!(!log.contains(&secret), "the log holds a secret that begins with {:.8}", secret);
    }
}

/// Logs a browser in, lets a proxy ask about it until its session goes on, and misspells a route. Gives the cookies that it had.
async fn a_browser(server: &TestServer) -> Vec<String> {
    let carol = server.user("carol").await;
    let names = [&server.authz.access_cookie, &server.authz.refresh_cookie];
    let form = format!("username={}&password={}", carol.name, PASSWORD.replace(' ', "+"));
    let headers: [&[u8]; 2] = [b"host: h", b"content-type: application/x-www-form-urlencoded"];
    let opened = http(server.http_addr, "POST /session", &headers, form.as_bytes()).await;
    let mut seen: Vec<String> = names.iter().map(|name| opened.cookie(name).expect("set").to_owned()).collect();
    seen.push(opened.cookie("__Host-countersign-device").expect("set").to_owned());
    let bearer = format!("Bearer {}", seen[0]);
    let cookie = format!("{}={}", names[1], seen[1]);
    for (name, value) in [("authorization", &bearer), ("cookie", &cookie)] {
        let asked = envoy::question("GET", "h/", &[(name, value)]);
        let passes = envoy::check(server.channel(), asked.clone()).await.expect("an answer").passes();
        seen.extend(
            names.iter().filter_map(|name| envoy::cookie(&passes.response_headers_to_add, name)).map(str::to_owned),
        );
        let misspelt = envoy::check(server.channel(), asked.with(&[("x", "y")])).await.expect("an answer");
        assert_eq!(misspelt.denied().0, 403);
    }
    let asked = format!("cookie: {cookie}");
    let passes = http(server.http_addr, "GET /forward-auth", &[b"host: h", asked.as_bytes()], b"").await;
    seen.push(passes.cookie(names[1]).expect("it goes on").to_owned());
    assert_eq!(seen.len(), 6);
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_of_a_call_carries_the_names_that_its_caller_gave_it() {
    let token = Scratch::of(ADMIN_TOKEN);
    let settings = ["--log", "countersign=debug", "--admin-token-file", token.text()];
    let mut server = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let named = |mut request: Request<CreateUserRequest>| {
        for (name, value) in [
            ("x-request-id", "request-4711"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ] {
            request.metadata_mut().insert(name, value.parse().expect("metadata"));
        }
        request
    };
    let alice =
        || CreateUserRequest { username: "alice".to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
    let mut users = UserServiceClient::new(server.channel());
    users.create_user(named(administering(alice()))).await.expect("created");
    users.create_user(named(administering(alice()))).await.expect_err("taken");
    users.create_user(named(Request::new(alice()))).await.expect_err("not allowed");
    let mut found = server.logged("call refused").await;
    found.extend(server.logged("call refused").await);
    let of = |message: &str| found.iter().rfind(|line| line["message"] == message);
    for message in ["user_created", "call refused"] {
        let span = &of(message).unwrap_or_else(|| panic!("{message}: {found:?}"))["span"];
        assert_eq!(span["request_id"], "request-4711", "{message}: {found:?}");
        assert_eq!(span["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span["parent_id"], "00f067aa0ba902b7");
    }
}

/// At the level that is the default: a line for each call that failed, but few of those that repeat themselves, and how many
/// were left out; none for calls that go well.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_call_is_one_line_and_repeats_are_counted() {
    let token = Scratch::of(ADMIN_TOKEN);
    let settings = ["--admin-token-file", token.text()];
    let mut server = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let mut users = UserServiceClient::new(server.channel());
    let alice = CreateUserRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() };
    users.create_user(administering(alice)).await.expect("created");
    let mut client = AuthServiceClient::new(server.channel());
    let login = LoginRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() };
    let tokens = client.login(login).await.expect("logged in").into_inner().tokens.expect("tokens");
    let verify = |access_token: &str| VerifyRequest { access_token: access_token.to_owned(), ..Default::default() };
    for _ in 0..20 {
        client.verify(verify(&tokens.access_token)).await.expect("valid");
    }
    let failed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&failed);
    let failing = tokio::spawn(async move {
        loop {
            let mut request = Request::new(VerifyRequest { access_token: "x".into(), ..Default::default() });
            request.metadata_mut().insert("x-request-id", "request-4712".parse().expect("metadata"));
            client.verify(request).await.expect_err("no token");
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (mut lines, mut left_out) = (Vec::new(), 0);
    while left_out == 0 {
        for line in server.logged("call refused").await {
            if let Some(call) = line["call"].as_str() {
                assert_eq!(call, "AuthService/Verify", "what goes well is not said: {line}");
                left_out += line["left_out"].as_u64().unwrap_or(0);
                lines.push(line);
            }
        }
    }
    failing.abort();
    let failed = failed.load(Ordering::SeqCst);
    assert!(left_out > 10 && (lines.len() as u64) < failed / 2, "{} lines of {failed} calls", lines.len());
    for line in &lines {
        assert_eq!(line["reason"], "TOKEN_MALFORMED", "{line}");
        assert_eq!(line["caller"], "127.0.0.1", "{line}");
        assert_eq!(line["span"]["request_id"], "request-4712", "{line}");
    }
}

/// Over HTTP by its address, and also where there is no such RPC.
#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_failed_call_names_its_caller_on_each_port() {
    let settings = ["--browser-sessions", "endpoints"];
    let mut server = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let addr = server.http_addr.parse().expect("an address");
    let headers: [&[u8]; 2] = [b"host: h", b"content-type: application/x-www-form-urlencoded"];
    assert_eq!(http(addr, "POST /session", &headers, b"username=nobody&password=wrong-password").await.status, 401);
    let mut nobodys = tonic::client::Grpc::new(server.channel());
    nobodys.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<VerifyRequest, VerifyRequest>::default();
    let path = PathAndQuery::from_static("/made.up/Path");
    nobodys.unary(Request::new(VerifyRequest::default()), path, codec).await.expect_err("nobody's");
    for reason in ["INVALID_CREDENTIALS", "UNIMPLEMENTED"] {
        let line = server.logged("call refused").await.pop().expect("a line");
        assert_eq!((line["reason"].as_str(), line["caller"].as_str()), (Some(reason), Some("127.0.0.1")), "{line}");
    }
}

/// Where Envoy asks, the names are in its question.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_is_logged_with_the_names_of_the_request_that_is_asked_about() {
    let proxy = Proxy::before(&database().await);
    let token = Scratch::of(ADMIN_TOKEN);
    let settings = ["--admin-token-file", token.text(), "--database-deadline", "1s"];
    let mut server = Process::start(env!("CARGO_BIN_EXE_countersign"), &proxy.url(), &settings).await;
    let alice = CreateUserRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() };
    UserServiceClient::new(server.channel()).create_user(administering(alice)).await.expect("created");
    let login = LoginRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() };
    let tokens = AuthServiceClient::new(server.channel()).login(login).await.expect("logged in").into_inner().tokens;
    proxy.freeze();
    let cookie = format!("__Host-countersign-refresh={}", tokens.expect("tokens").refresh_token);
    let asked = [
        ("cookie", cookie.as_str()),
        ("x-request-id", "request-4713"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    envoy::check(server.channel(), envoy::question("GET", "h/", &asked)).await.expect_err("an outage");
    let line = server.logged("call failed").await.pop().expect("a line");
    assert_eq!(line["call"], "Authorization/Check", "{line}");
    assert_eq!(line["reason"], "DATABASE_UNAVAILABLE", "{line}");
    assert_eq!(line["span"]["request_id"], "request-4713", "{line}");
    assert_eq!(line["span"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{line}");
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_logged_of_calls_that_share_a_statement_carries_the_names_of_each() {
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let (captured, _guard) = capture(Level::INFO);
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut head = PgConnection::connect(&server.database_url).await.expect("connect");
    let mut sessions = Vec::new();
    for n in 0..5 {
        sessions.push((alice.login().await.session_id, format!("request-{n}")));
    }
    head.execute("BEGIN; UPDATE revocation_head SET seq = seq").await.expect("locked");
    let revoke = |session_id: &str, id: &str| {
        let target = Some(Target::SessionId(session_id.to_owned()));
        let mut request = Request::new(RevokeRequest { target, ..Default::default() });
        request.metadata_mut().insert("x-request-id", id.parse().expect("metadata"));
        let mut client = server.auth_client();
        tokio::spawn(async move { client.revoke(request).await.expect("revoked") })
    };
    let mut calls = vec![revoke(&sessions[0].0, &sessions[0].1)];
    somebody_waits(&server.database_url).await;
    calls.extend(sessions[1..].iter().map(|(session, id)| revoke(session, id)));
    while server.auth.sessions.ending().len() + 1 < calls.len() {
        yield_now().await;
    }
    head.execute("COMMIT").await.expect("released");
    for call in calls {
        call.await.expect("joined");
    }
    let log = captured.text();
    for (session, id) in &sessions {
        let line = log.lines().find(|line| line.contains("session_ended") && line.contains(session)).expect("logged");
        assert!(line.contains(&format!("call{{request_id=\"{id}\"}}")), "{id}: {line}");
    }
}
