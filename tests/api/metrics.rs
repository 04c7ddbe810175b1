//! Metrics: what happened is counted, as Prometheus reads it, and states are those of the moment.

use std::{collections::HashMap, time::Duration};

use countersign::grpc::v1::{
    LoginRequest, RefreshRequest, VerifyBatchRequest, VerifyRequest, WatchRevocationsRequest, revoke_request::Target,
};
use countersign_token::clock::Clock;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request};

use crate::{
    http_client::http,
    support::{PASSWORD, Process, Proxy, Setup, TestServer, database, refusal},
};

/// The samples of a scrape: each series, as it is written, with its value.
struct Scrape(HashMap<String, f64>);

impl Scrape {
    async fn of(server: &TestServer) -> Self {
        let text = text(server).await;
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// The value of a series.
    fn get(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no series {series}"))
    }

    /// The number of calls of an RPC with this code.
    fn handled(&self, method: &str, code: &str) -> f64 {
        let of = |series: &&String| {
            series.starts_with("grpc_server_handled_total{")
                && series.contains(&format!("grpc_method=\"{method}\""))
                && series.contains(&format!("grpc_code=\"{code}\""))
        };
        self.0.keys().find(of).map_or(0.0, |series| self.get(series))
    }
}

/// The text of `/metrics`.
async fn text(server: &TestServer) -> String {
    let mut stream = TcpStream::connect(server.http_addr).await.expect("connected");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

#[tokio::test]
async fn calls_are_counted_by_what_became_of_them() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    alice.verify(&tokens.access_token).await.expect("valid");
    alice.verify(&tokens.access_token).await.expect("remembered");
    assert_eq!(refusal(alice.verify("x.y.z").await).1, "TOKEN_MALFORMED");
    assert_eq!(refusal(alice.login_with("wrong").await).1, "INVALID_CREDENTIALS");
    let next = alice.rotate(&tokens.refresh_token).await;
    alice.rotate(&tokens.refresh_token).await;
    let batch = VerifyBatchRequest {
        access_tokens: vec![next.access_token.clone(), "x".into()],
        ..VerifyBatchRequest::default()
    };
    server.auth_client().verify_batch(batch).await.expect("answered");
    alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("ended");
    assert_eq!(refusal(alice.verify(&next.access_token).await).1, "TOKEN_REVOKED");
    assert_eq!(refusal(alice.refresh(&next.refresh_token).await).1, "REFRESH_TOKEN_INVALID");

    let scrape = Scrape::of(&server).await;
    for (method, code, number) in [
        ("Verify", "OK", 2.0),
        ("Verify", "Unauthenticated", 2.0),
        ("VerifyBatch", "OK", 1.0),
        ("Login", "OK", 1.0),
        ("Login", "Unauthenticated", 1.0),
        ("Refresh", "OK", 2.0),
        ("Refresh", "Unauthenticated", 1.0),
        ("Revoke", "OK", 1.0),
    ] {
        assert_eq!(scrape.handled(method, code), number, "{method} {code}");
    }
    for (series, number) in [
        ("countersign_logins_total{result=\"ok\"}", 1.0),
        ("countersign_logins_total{result=\"invalid_credentials\"}", 1.0),
        ("countersign_verifications_total{result=\"valid\"}", 3.0),
        ("countersign_verifications_total{result=\"malformed\"}", 2.0),
        ("countersign_verifications_total{result=\"revoked\"}", 1.0),
        ("countersign_refreshes_total{outcome=\"rotated\"}", 1.0),
        ("countersign_refreshes_total{outcome=\"replayed\"}", 1.0),
        ("countersign_refreshes_total{outcome=\"invalid\"}", 1.0),
        ("countersign_revocation_confirmation_seconds_count{confirmed=\"true\"}", 1.0),
        ("countersign_revocation_full_loads_total{reason=\"start\"}", 1.0),
        ("countersign_revocation_index_entries", 1.0),
        ("countersign_keys{purpose=\"access_token\",stage=\"active\"}", 1.0),
        ("countersign_keys_unusable", 0.0),
    ] {
        assert_eq!(scrape.get(series), number, "{series}");
    }
    // Of the three texts two are no tokens, which is seen without a signature; the second look at a token is remembered.
    assert!(scrape.get("countersign_verification_signatures_total") >= 2.0);
    assert!(scrape.get("countersign_password_hash_seconds_count") >= 2.0);
    assert!(scrape.get("countersign_key_rotation_due_seconds") > 0.0);
    assert!(scrape.get("countersign_database_statement_seconds_count{outcome=\"ok\"}") > 0.0);
}

/// Shed, late, cancelled and panicking calls, and those of nobody's, are calls too.
#[tokio::test]
async fn calls_that_no_handler_answers_are_counted() {
    let mut setup = Setup::on(database().await, Clock::system());
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let login = || LoginRequest { username: "alice".into(), password: PASSWORD.into(), ..LoginRequest::default() };
    proxy.freeze();
    let mut late = Request::new(login());
    late.set_timeout(Duration::from_millis(50));
    let status = server.auth_client().login(late).await.expect_err("late");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
    // A caller that leaves.
    let mut client = server.auth_client();
    let task = tokio::spawn(async move { client.login(login()).await });
    until(&server, |scrape| scrape.get(LOGINS_STARTED) >= 2.0).await;
    task.abort();
    drop(task.await);
    until(&server, |scrape| scrape.handled("Login", "Canceled") + scrape.handled("Login", "DeadlineExceeded") >= 2.0)
        .await;
    proxy.mend();
    let mut unknown = tonic::client::Grpc::new(server.channel());
    unknown.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<VerifyRequest, VerifyRequest>::default();
    let path = http::uri::PathAndQuery::from_static("/made.up/Path");
    let answer = unknown.unary(Request::new(VerifyRequest::default()), path, codec).await;
    assert_eq!(answer.expect_err("nobody's").code(), Code::Unimplemented);
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.handled("unknown", "Unimplemented"), 1.0);
    drop(alice);
}

const LOGINS_STARTED: &str =
    "grpc_server_started_total{grpc_method=\"Login\",grpc_service=\"countersign.v1.AuthService\",grpc_type=\"unary\"}";

/// Scrapes until what is seen is so.
async fn until(server: &TestServer, reached: impl Fn(&Scrape) -> bool) {
    let scraped = async { while !reached(&Scrape::of(server).await) {} };
    tokio::time::timeout(Duration::from_secs(20), scraped).await.expect("in time");
}

#[tokio::test]
async fn a_port_of_their_own_has_nothing_else_and_the_other_one_has_them_not() {
    let process =
        Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &["--metrics-addr", "127.0.0.1:0"]).await;
    let own = process.start.iter().find_map(|line| line["metrics"].as_str()).expect("it is said");
    for (addr, expected) in [(own, [200, 404]), (&process.http_addr, [404, 200])] {
        let status = async |request| http(addr.parse().expect("an address"), request, &[b"host: h"], b"").await.status;
        assert_eq!([status("GET /metrics").await, status("GET /readyz").await], expected, "{addr}");
    }
}

/// Each metric stands in the document with its meaning, and no other does.
#[tokio::test]
async fn the_document_has_each_metric() {
    let document = include_str!("../../docs/metrics.md");
    let documented = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let mut documented: Vec<&str> = documented.filter(|name| name.contains('_')).collect();
    let text = text(&TestServer::start().await).await;
    let mut exposed: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    documented.sort_unstable();
    exposed.sort_unstable();
    assert_eq!(documented, exposed);
}

#[tokio::test]
async fn a_stream_is_counted_when_it_ends() {
    let server = TestServer::start().await;
    let stream = server.auth_client().watch_revocations(WatchRevocationsRequest::default()).await;
    let mut stream = stream.expect("open").into_inner();
    stream.message().await.expect("a message").expect("one");
    let scrape = Scrape::of(&server).await;
    assert_eq!(scrape.handled("WatchRevocations", "OK") + scrape.handled("WatchRevocations", "Canceled"), 0.0);
    assert!(scrape.get("countersign_watchers") >= 1.0);
    drop(stream);
    until(&server, |scrape| scrape.handled("WatchRevocations", "Canceled") == 1.0).await;
    until(&server, |scrape| scrape.get("countersign_watchers") == 0.0).await;
}

#[tokio::test]
async fn a_replica_says_how_long_after_its_revocation_it_has_read_a_row() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let count = "countersign_revocation_lag_seconds_count";
    let before = [Scrape::of(&server).await.get(count), Scrape::of(&other).await.get(count)];
    alice.revoke(Target::SessionId(tokens.session_id)).await.expect("revoked");
    assert!(Scrape::of(&other).await.get(count) > before[1], "it is confirmed, so it was read");
    until(&server, |scrape| scrape.get(count) > before[0]).await;
}

/// A frozen database is seen: what is known grows old, connections and statements fail.
#[tokio::test]
async fn an_outage_of_the_database_is_seen() {
    let mut setup = Setup::on(database().await, Clock::system());
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    setup.database_deadline = Duration::from_millis(300);
    setup.settings.revocation.max_staleness = Duration::from_secs(2);
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let age = |scrape: &Scrape| scrape.get("countersign_revocation_freshness_age_seconds");
    assert!(age(&Scrape::of(&server).await) < 2.0);
    proxy.freeze();
    until(&server, |scrape| age(scrape) > 2.0).await;
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "REVOCATIONS_STALE");
    let request = RefreshRequest { refresh_token: tokens.refresh_token, ..RefreshRequest::default() };
    assert_eq!(server.auth_client().refresh(request).await.expect_err("stale").code(), Code::Unavailable);
    let scrape = Scrape::of(&server).await;
    assert!(scrape.get("countersign_verifications_total{result=\"stale\"}") >= 1.0);
    let batch = VerifyBatchRequest { access_tokens: vec![tokens.access_token.clone(); 100], ..Default::default() };
    assert_eq!(server.auth_client().verify_batch(batch).await.expect_err("stale").code(), Code::Unavailable);
    let scrape = Scrape::of(&server).await;
    assert!(scrape.get("countersign_verifications_total{result=\"stale\"}") >= 100.0, "each token of a batch counts");
    assert!(scrape.get("countersign_refreshes_total{outcome=\"unavailable\"}") >= 1.0);
    assert!(scrape.get("countersign_revocation_follow_failures_total") >= 1.0);
    assert!(scrape.get("countersign_database_statement_seconds_count{outcome=\"unavailable\"}") >= 1.0);
    proxy.mend();
    until(&server, |scrape| age(scrape) < 2.0).await;
}
