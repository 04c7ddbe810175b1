//! Traces: each call is a span of its caller's trace, with spans below it for what takes time, and no span holds a secret.

use countersign::grpc::v1::{
    CreateUserRequest, LoginRequest, RefreshRequest, RevokeRequest, VerifyRequest,
    auth_service_client::AuthServiceClient, revoke_request::Target, user_service_client::UserServiceClient,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tonic::{Request, metadata::MetadataMap, transport::Channel};

use crate::{
    envoy::{self, question},
    http_client::http,
    otlp::{Received, Receiver},
    support::{ADMIN_TOKEN, Authority, PASSWORD, Process, Proxy, Scratch, administering, database},
};

const STARTED: &str = r#"grpc_server_started_total{grpc_method="Login""#;
const PARENT: &str = "00f067aa0ba902b7";

fn trace(number: u8) -> String {
    format!("{number:032x}")
}

/// A request that is part of a trace, whose caller keeps it.
fn traced<T>(number: u8, message: T) -> Request<T> {
    with_flags(number, "01", message)
}

fn with_flags<T>(number: u8, flags: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{}-{PARENT}-{flags}", trace(number));
    request.metadata_mut().insert("traceparent", parent.parse().expect("metadata"));
    request.metadata_mut().insert("tracestate", "vendor=1".parse().expect("metadata"));
    request
}

/// A server that sends its traces to `receiver`, with these variables too.
struct Traced {
    process: Process,
    auth: AuthServiceClient<Channel>,
    _token: Scratch,
}

async fn serve(url: &str, endpoint: &str, settings: &[&str], more: &[(&str, &str)]) -> Traced {
    let token = Scratch::of(ADMIN_TOKEN);
    let settings = [&["--admin-token-file", token.text()], settings].concat();
    let variables = [&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")], more].concat();
    let process = Process::start_with(env!("CARGO_BIN_EXE_countersign"), url, &settings, &variables).await;
    let auth = AuthServiceClient::new(process.channel());
    Traced { process, auth, _token: token }
}

async fn traced_server() -> (Traced, Receiver) {
    let receiver = Receiver::start().await;
    let server =
        serve(&database().await, &format!("http://{}", receiver.addr), &["--forward-auth", "token"], &[]).await;
    (server, receiver)
}

impl Traced {
    async fn create_alice(&self) {
        let alice = CreateUserRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() };
        UserServiceClient::new(self.process.channel()).create_user(administering(alice)).await.expect("created");
    }
}

fn login() -> LoginRequest {
    LoginRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() }
}

fn verify(token: &str) -> VerifyRequest {
    VerifyRequest { access_token: token.to_owned(), ..Default::default() }
}

fn attribute<'s>(span: &'s Received, name: &str) -> Option<&'s str> {
    span.attributes.get(name).map(String::as_str)
}

fn traceresponse(metadata: &MetadataMap) -> Option<&str> {
    metadata.get("traceresponse").map(|value| value.to_str().expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_span_of_its_callers_trace_with_spans_below_it_for_what_takes_time() {
    let (mut server, mut receiver) = traced_server().await;
    server.create_alice().await;
    let answer = server.auth.login(traced(1, login())).await.expect("logged in");
    let span = receiver.span(&trace(1), "countersign.v1.AuthService/Login").await;
    let found_by = format!("00-{}-{}-01", span.trace, span.id);
    assert_eq!(traceresponse(answer.metadata()), Some(found_by.as_str()));
    assert_eq!((span.kind, span.parent.as_str(), span.failed), (SpanKind::Server as i32, PARENT, false));
    assert_eq!(span.state, "vendor=1");
    for (name, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "countersign.v1.AuthService/Login"),
        ("rpc.response.status_code", "OK"),
        ("countersign.caller", "127.0.0.1"),
    ] {
        assert_eq!(attribute(&span, name), Some(value), "{name}");
    }
    assert_eq!(span.resource["service.name"], "countersign");
    assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
    let below = receiver.below(&span);
    let hash = below.iter().find(|span| span.name == "password hash").expect("a hash");
    assert_eq!((hash.kind, &hash.events[..]), (SpanKind::Internal as i32, &["hashing begins".to_owned()][..]));
    let user = below.iter().find(|span| span.name == "SELECT users").expect("a statement");
    assert_eq!(user.kind, SpanKind::Client as i32);
    assert_eq!(
        (attribute(user, "db.system.name"), attribute(user, "db.query.summary")),
        (Some("postgresql"), Some("SELECT users"))
    );
    assert!(attribute(user, "db.query.text").is_some_and(|text| text.contains('$')), "{user:?}");
    assert!(attribute(user, "server.address").is_some() && attribute(user, "db.namespace").is_some());
    assert!(below.iter().any(|span| span.name.contains("INSERT refresh_tokens")), "in a task of its own: {below:#?}");
    let tokens = answer.into_inner().tokens.expect("tokens");
    let refresh = RefreshRequest { refresh_token: tokens.refresh_token.clone(), ..Default::default() };
    let tokens = server.auth.refresh(traced(2, refresh)).await.expect("refreshed").into_inner().tokens.expect("tokens");
    let span = receiver.span(&trace(2), "countersign.v1.AuthService/Refresh").await;
    assert!(receiver.below(&span).iter().any(|span| span.name == "refresh token rotation"));
    let target = Some(Target::RefreshToken(tokens.refresh_token.clone()));
    server.auth.revoke(traced(3, RevokeRequest { target, ..Default::default() })).await.expect("revoked");
    let span = receiver.span(&trace(3), "countersign.v1.AuthService/Revoke").await;
    let below = receiver.below(&span);
    let confirmation = below.iter().find(|span| span.name == "revocation confirmation").expect("a confirmation");
    assert_eq!(attribute(confirmation, "countersign.confirmed"), Some("true"));
    let all = format!("{:?}", receiver.seen());
    for secret in [PASSWORD, "$argon2id$", ADMIN_TOKEN, &tokens.access_token, &tokens.refresh_token] {
        assert!(!all.contains(secret), "a span holds a secret that begins with {secret:.8}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_why_and_only_what_is_the_servers_fault_is_an_error() {
    let receiver = Receiver::start().await;
    let proxy = Proxy::before(&database().await);
    let settings = ["--database-deadline", "1s"];
    let mut server = serve(&proxy.url(), &format!("http://{}", receiver.addr), &settings, &[]).await;
    let mut receiver = receiver;
    server.create_alice().await;
    server.auth.verify(traced(1, verify("x"))).await.expect_err("no token");
    let refused = receiver.span(&trace(1), "countersign.v1.AuthService/Verify").await;
    assert_eq!(attribute(&refused, "rpc.response.status_code"), Some("UNAUTHENTICATED"));
    assert_eq!(attribute(&refused, "countersign.reason"), Some("TOKEN_MALFORMED"));
    assert_eq!((refused.failed, attribute(&refused, "error.type")), (false, None));
    proxy.freeze();
    let unavailable = server.auth.login(traced(2, login())).await.expect_err("no database");
    assert!(traceresponse(unavailable.metadata()).is_some_and(|header| header.contains(&trace(2))));
    let failed = receiver.span(&trace(2), "countersign.v1.AuthService/Login").await;
    assert_eq!(attribute(&failed, "rpc.response.status_code"), Some("UNAVAILABLE"));
    assert_eq!((failed.failed, attribute(&failed, "error.type")), (true, Some("UNAVAILABLE")));
    assert!(receiver.below(&failed).iter().any(|span| span.failed && span.attributes.contains_key("error.type")));
    // A caller that leaves.
    let mut client = server.auth.clone();
    let waiting = tokio::spawn(async move { client.login(traced(3, login())).await.map(drop) });
    let addr = server.process.http_addr.parse().expect("an address");
    let begun = |page: &str| page.lines().any(|line| line.starts_with(STARTED) && line.ends_with("} 2"));
    while !begun(&http(addr, "GET /metrics", &[b"host: h"], b"").await.body) {}
    waiting.abort();
    let left = receiver.span(&trace(3), "countersign.v1.AuthService/Login").await;
    assert_eq!(attribute(&left, "rpc.response.status_code"), Some("CANCELLED"));
    let mut grpc = tonic::client::Grpc::new(server.process.channel());
    grpc.ready().await.expect("ready");
    let codec = tonic_prost::ProstCodec::<VerifyRequest, VerifyRequest>::default();
    let nobodys = "/made.up/Path".parse().expect("a path");
    grpc.unary(traced(4, verify("")), nobodys, codec).await.expect_err("no such method");
    let unknown = receiver.span(&trace(4), "grpc").await;
    assert_eq!((attribute(&unknown, "rpc.method"), unknown.failed), (Some("_OTHER"), true));
    assert_eq!(attribute(&unknown, "rpc.method_original"), Some("made.up/Path"));
}

/// Envoy asks in its own name, and where it does not trace, the trace is in the request that it asks about.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_is_part_of_the_trace_of_the_request_that_is_asked_about() {
    const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";
    let (mut server, mut receiver) = traced_server().await;
    server.create_alice().await;
    let tokens = server.auth.login(login()).await.expect("logged in").into_inner().tokens.expect("tokens");
    let bearer = format!("Bearer {}", tokens.access_token);
    let parent = format!("00-{}-{PARENT}-01", trace(1));
    let headers = [("authorization", bearer.as_str()), ("traceparent", &parent), ("tracestate", "vendor=1")];
    let target = "shop.example.com/orders?access_token=in-a-query";
    envoy::check(server.process.channel(), question("GET", target, &headers)).await.expect("an answer").passes();
    let span = receiver.span(&trace(1), CHECK).await;
    assert_eq!((span.parent.as_str(), span.state.as_str()), (PARENT, "vendor=1"));
    let raw = question("GET", target, &[("traceparent", &format!("00-{}-{PARENT}-01", trace(2)))]).raw();
    envoy::check(server.process.channel(), raw).await.expect("an answer").denied();
    assert_eq!(receiver.span(&trace(2), CHECK).await.parent, PARENT);
    // The context of the call itself is that of Envoy's own span.
    envoy::ask(server.process.channel(), traced(3, question("GET", target, &headers))).await.expect("an answer");
    assert_eq!(receiver.span(&trace(3), CHECK).await.parent, PARENT);
    let mut own = Vec::new();
    for headers in [&headers[..1], &[("traceparent", "garbage")]] {
        envoy::check(server.process.channel(), question("GET", target, headers)).await.expect("an answer");
        let begins_here = |span: &Received| span.name == CHECK && span.parent.is_empty() && !own.contains(&span.id);
        let found = receiver.find(begins_here).await.id;
        own.push(found);
    }
    let addr = server.process.http_addr.parse().expect("an address");
    let header = format!("traceparent: 00-{}-{PARENT}-01", trace(6));
    let asked: [&[u8]; 3] = [b"host: h", header.as_bytes(), b"authorization: Bearer garbage"];
    assert_eq!(http(addr, "GET /forward-auth?access_token=in-a-query", &asked, b"").await.status, 401);
    let span = receiver.span(&trace(6), "GET /forward-auth").await;
    let kind = SpanKind::Server as i32;
    assert_eq!((span.kind, span.parent.as_str(), span.failed), (kind, PARENT, false));
    for (name, value) in
        [("http.request.method", "GET"), ("http.route", "/forward-auth"), ("http.response.status_code", "401")]
    {
        assert_eq!(attribute(&span, name), Some(value));
    }
    assert!(!format!("{:?}", receiver.seen()).contains("in-a-query"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_that_its_caller_does_not_keep_is_not_kept_here_and_one_of_nobody_is_found_by_the_log() {
    let (mut server, mut receiver) = traced_server().await;
    server.auth.verify(with_flags(1, "00", verify("x"))).await.expect_err("no token");
    let refused = server.auth.verify(verify("x")).await.expect_err("no token");
    let header = traceresponse(refused.metadata()).expect("a trace of its own").to_owned();
    let own = receiver.find(|span| header.contains(&span.trace)).await;
    assert_eq!(own.parent, "");
    let first = server.process.logged("call refused").await.pop().expect("a line");
    assert_eq!(first["span"]["trace_id"], trace(1).as_str(), "that of the caller");
    let line = server.process.logged("call refused").await.pop().expect("a line");
    assert_eq!(line["span"]["trace_id"], own.trace.as_str(), "{line}");
    assert_eq!(line["span"]["span_id"], own.id.as_str(), "{line}");
    assert!(receiver.seen().iter().all(|span| span.trace != trace(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_cannot_be_sent_are_lost_and_said_once_and_no_call_waits() {
    let (mut server, mut receiver) = traced_server().await;
    receiver.refuse(true);
    server.auth.verify(traced(1, verify("x"))).await.expect_err("no token");
    let line = server.process.logged("traces cannot be sent: spans are lost").await.pop().expect("a line");
    assert!(line["endpoint"].as_str().is_some_and(|endpoint| endpoint.contains(&receiver.addr)), "{line}");
    assert!(line["lost"].as_u64().is_some_and(|lost| lost > 0), "{line}");
    receiver.refuse(false);
    server.auth.verify(traced(2, verify("x"))).await.expect_err("no token");
    server.process.logged("traces can be sent again").await;
    receiver.span(&trace(2), "countersign.v1.AuthService/Verify").await;
    assert!(receiver.seen().iter().all(|span| span.trace != trace(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_what_is_left_and_a_receiver_that_is_gone_does_not_hold_it_up() {
    let mut receiver = Receiver::start().await;
    let endpoint = format!("http://{}", receiver.addr);
    let url = database().await;
    let mut server = serve(&url, &endpoint, &[], &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]).await;
    server.auth.verify(traced(1, verify("x"))).await.expect_err("no token");
    server.process.terminate();
    assert!(server.process.ended().await);
    receiver.span(&trace(1), "countersign.v1.AuthService/Verify").await;
    let mut server = serve(&url, "http://127.0.0.1:1", &[], &[]).await;
    server.auth.verify(traced(2, verify("x"))).await.expect_err("no token");
    server.process.logged("traces cannot be sent: spans are lost").await;
    server.process.terminate();
    assert!(server.process.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_behind_tls_is_shown_a_certificate_and_what_the_variables_say() {
    let authority = Authority::new();
    let mut receiver = Receiver::start_tls(&authority, &authority.issue(&["127.0.0.1"])).await;
    let own = authority.issue(&["countersign"]);
    let (ca, chain, key) = (Scratch::of(&authority.pem), Scratch::of(&own.pem), Scratch::of(&own.key));
    let variables = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.text()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", chain.text()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key.text()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop"),
        ("OTEL_SERVICE_NAME", "auth"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.version=own"),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_off"),
    ];
    let mut server = serve(&database().await, &format!("https://{}", receiver.addr), &[], &variables).await;
    let unsampled = server.auth.verify(verify("x")).await.expect_err("no token");
    assert_eq!(traceresponse(unsampled.metadata()), None, "the sampler does not keep it");
    server.auth.verify(traced(1, verify("x"))).await.expect_err("no token");
    let span = receiver.span(&trace(1), "countersign.v1.AuthService/Verify").await;
    assert_eq!(span.metadata.get("x-tenant").map(|value| value.to_str().expect("text")), Some("shop"));
    assert_eq!(span.metadata.get("grpc-encoding").map(|value| value.to_str().expect("text")), Some("gzip"));
    for (name, value) in [("service.name", "auth"), ("deployment.environment.name", "test"), ("service.version", "own")]
    {
        assert_eq!(span.resource[name], value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_traces_unless_somebody_receives_them_and_a_bad_variable_is_named() {
    let url = database().await;
    let mut server = serve(&url, "", &[], &[("OTEL_SERVICE_NAME", "auth")]).await;
    assert!(server.process.start.iter().all(|line| line["message"] != "sending traces"));
    let refused = server.auth.verify(traced(1, verify("x"))).await.expect_err("no token");
    assert_eq!(traceresponse(refused.metadata()), None);
    let line = server.process.logged("call refused").await.pop().expect("a line");
    assert_eq!(line["span"]["trace_id"], trace(1).as_str(), "the log has it all the same");
    let failed = std::process::Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["config", "check", "--database-url", &url])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("COUNTERSIGN_MASTER_KEY", crate::support::MASTER_KEY)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && said.contains("OTEL_EXPORTER_OTLP_PROTOCOL: grpc"), "{said}");
}
