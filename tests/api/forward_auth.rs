//! Forward auth: what nginx, Caddy, HAProxy, Traefik and Envoy's http_service ask.

use std::time::Duration;

use countersign::{
    config::{PolicyFile, Routes},
    domain::policy::{BrowserSessions, ForwardAuth},
    grpc::v1::{TokenPair, revoke_request::Target},
};

use crate::{
    http_client::{HttpAnswer, http},
    support::{Process, Proxy, Scratch, Setup, TestServer, database},
};

const ACCESS: &str = "__Host-countersign-access";
const REFRESH: &str = "__Host-countersign-refresh";
const RULES: &str = "[[routes]]\npath = \"/public\"\nmethods = [\"GET\"]\naccess = \"public\"\n\
                     [[routes]]\npath = \"/admin\"\nroles_any = [\"admin\"]\n";

async fn setup(by: ForwardAuth) -> Setup {
    let mut setup = Setup::new().await;
    setup.settings.authz.forward_auth = by;
    setup
}

async fn asked(server: &TestServer, request: &str, headers: &[&str]) -> HttpAnswer {
    let headers: Vec<&[u8]> = std::iter::once("host: auth").chain(headers.iter().copied()).map(str::as_bytes).collect();
    http(server.http_addr, request, &headers, b"").await
}

fn bearer(tokens: &TokenPair) -> String {
    format!("authorization: Bearer {}", tokens.access_token)
}

fn cookies(tokens: &TokenPair) -> String {
    format!("cookie: {ACCESS}={}; {REFRESH}={}", tokens.access_token, tokens.refresh_token)
}

#[tokio::test]
async fn any_method_and_any_path_below_has_one_of_five_answers() {
    let server = setup(ForwardAuth::Token).await.start().await;
    let alice = server.user("alice").await;
    let (valid, revoked) = (alice.login().await, alice.login().await);
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    for request in [
        "GET /forward-auth",
        "GET /forward-auth/",
        "GET /forward-auth/?x",
        "POST /forward-auth/orders?x=1",
        "DELETE /forward-auth/a//b",
        "OPTIONS /forward-auth",
    ] {
        let passes = asked(&server, request, &[&bearer(&valid), "x-auth-user-id: spoofed"]).await;
        assert_eq!((passes.status, passes.header("x-auth-user-id")), (200, Some(alice.id.as_str())), "{request}");
        let always = ["x-auth-session-id", "x-auth-roles", "x-auth-audience", "x-auth-username"];
        let values = always.map(|name| passes.header(name).expect("always set").to_owned());
        assert_eq!(values, [&valid.session_id, "reader", "internal", ""], "{request}");
        assert_eq!((passes.header("content-length"), passes.header("set-cookie")), (Some("0"), None), "{request}");
        let denied = asked(&server, request, &[&bearer(&revoked)]).await;
        assert_eq!(denied.refusal(), (401, "TOKEN_REVOKED".to_owned()), "{request}");
        let challenge = "Bearer error=\"invalid_token\", error_description=\"TOKEN_REVOKED\"";
        assert_eq!(denied.header("www-authenticate"), Some(challenge));
        assert_eq!(denied.header("cache-control"), Some("no-store"));
    }
    assert_eq!(asked(&server, "GET /forward-authx", &[&bearer(&valid)]).await.status, 404);
    assert_eq!(asked(&server, "HEAD /forward-auth", &[&bearer(&valid)]).await.status, 200);
}

#[tokio::test]
async fn it_is_off_unless_a_setting_turns_it_on() {
    let server = TestServer::start().await;
    assert_eq!(asked(&server, "GET /forward-auth", &[]).await.status, 404);
}

#[tokio::test]
async fn a_port_of_its_own_has_nothing_else_and_the_other_one_has_not_it() {
    let settings = ["--forward-auth", "token", "--forward-auth-addr", "127.0.0.1:0", "--browser-sessions", "endpoints"];
    let process = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let own = process.start.iter().find_map(|line| line["forward_auth"].as_str()).expect("it is said");
    for (addr, expected) in [(own, [401, 404, 404]), (&process.http_addr, [404, 401, 200])] {
        let status = async |request| http(addr.parse().expect("an address"), request, &[b"host: h"], b"").await.status;
        let found = [status("GET /forward-auth").await, status("GET /session").await, status("GET /readyz").await];
        assert_eq!(found, expected, "{addr}");
    }
}

#[tokio::test]
async fn p4_trouble_of_ours_is_503() {
    let mut setup = setup(ForwardAuth::Token).await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    let server = setup.start().await;
    let tokens = server.user("alice").await.login().await;
    proxy.cut();
    assert_eq!(asked(&server, "GET /forward-auth", &[&bearer(&tokens)]).await.status, 200);
    server.clock.advance(Duration::from_secs(31));
    let answer = asked(&server, "GET /forward-auth", &[&bearer(&tokens)]).await;
    assert_eq!(answer.refusal(), (503, "REVOCATIONS_STALE".to_owned()));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(
        asked(&server, "GET /forward-auth", &["authorization: Bearer x"]).await.status,
        503,
        "whatever is asked"
    );
}

#[tokio::test]
async fn p2_one_cookie_is_a_whole_session() {
    let server = setup(ForwardAuth::Token).await.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let (mut sent, mut chain) = (cookies(&tokens), Vec::new());
    // As behind nginx: of each answer the first Set-Cookie is handed on, and the old access cookie stays. Far more often than
    // a session would forgive a browser that shows an old refresh token again.
    for _ in 0..20 {
        server.advance(Duration::from_secs(600)).await;
        let passes = asked(&server, "GET /forward-auth", &[&sent]).await;
        assert_eq!((passes.status, passes.all("set-cookie").len()), (200, 1));
        let cookie = passes.cookie(REFRESH).expect("one cookie").to_owned();
        sent = format!("cookie: {ACCESS}={}; {REFRESH}={cookie}", tokens.access_token);
        let quiet = asked(&server, "GET /forward-auth", &[&sent]).await;
        assert_eq!((quiet.status, quiet.all("set-cookie").len()), (200, 0), "the access token is in it");
        chain.push(cookie);
    }
    chain.dedup();
    assert_eq!(chain.len(), 20);
    let stolen = format!("cookie: {REFRESH}={}", chain[3]);
    let reused = asked(&server, "GET /forward-auth", &[&stolen]).await;
    assert_eq!(reused.refusal(), (401, "REFRESH_TOKEN_REUSED".to_owned()));
    assert_eq!((reused.all("set-cookie").len(), reused.cookie(REFRESH)), (1, Some("")));
    assert_eq!(asked(&server, "GET /forward-auth", &[&sent]).await.status, 401, "the session has ended");
}

#[tokio::test]
async fn the_request_is_named_as_the_setting_says_and_not_by_what_a_client_sends() {
    let file = Scratch::of(RULES);
    for (by, named) in [
        (ForwardAuth::XOriginal, &["x-original-method: M", "x-original-uri: T", "x-original-host: h"][..]),
        (ForwardAuth::XForwarded, &["x-forwarded-method: M", "x-forwarded-uri: T", "x-forwarded-host: h"]),
        (ForwardAuth::Path, &[]),
    ] {
        let mut setup = setup(by).await;
        setup.callers.policy = Some(PolicyFile::read(file.text().into(), Routes::Matched).expect("read").current());
        let server = setup.start().await;
        let tokens = server.user("alice").await.login().await;
        let bearer = bearer(&tokens);
        for (method, target, with, expected) in [
            ("GET", "/public/x?y", false, 200),
            ("POST", "/public/x", false, 401),
            ("GET", "/public/../admin", false, 403),
            ("GET", "/admin", true, 403),
            ("GET", "/orders", true, 200),
        ] {
            // What is not the setting's says that the request is public.
            let mut headers: Vec<String> =
                ["x-original-uri: /public", "x-forwarded-uri: /public", "x-original-method: GET"]
                    .into_iter()
                    .filter(|spoofed| !named.iter().any(|name| name.split(':').next() == spoofed.split(':').next()))
                    .map(str::to_owned)
                    .collect();
            headers.extend(
                named
                    .iter()
                    .map(|line| line.replace(": M", &format!(": {method}")).replace(": T", &format!(": {target}"))),
            );
            headers.extend(with.then(|| bearer.clone()));
            let request = if named.is_empty() {
                format!("{method} /forward-auth{target}")
            } else {
                "GET /forward-auth".to_owned()
            };
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            assert_eq!(asked(&server, &request, &headers).await.status, expected, "{by:?} {method} {target}");
        }
        if let [_, more @ ..] = named {
            let unnamed = asked(&server, "GET /forward-auth", more).await;
            assert_eq!(unnamed.refusal(), (403, "ROUTE_AMBIGUOUS".to_owned()), "without the method");
        }
    }
}

#[tokio::test]
async fn a_browser_is_told_where_the_login_page_is_and_a_program_is_not() {
    let mut setup = setup(ForwardAuth::XOriginal).await;
    setup.settings.authz.browser_sessions = BrowserSessions::LoginPage;
    let server = setup.start().await;
    let named = ["x-original-method: GET", "x-original-uri: /a?b=c", "x-original-host: h"];
    let program = asked(&server, "GET /forward-auth", &named).await;
    assert_eq!((program.status, program.header("location")), (401, None));
    let browser = [&named[..], &["sec-fetch-mode: navigate"]].concat();
    let browser = asked(&server, "GET /forward-auth", &browser).await;
    assert_eq!((browser.status, browser.header("location")), (401, Some("/login?return_to=/a%3Fb%3Dc")));
}

#[tokio::test]
async fn bad_input_is_denied() {
    let server = setup(ForwardAuth::Token).await.start().await;
    let long = format!("authorization: Bearer {}", "a".repeat(12_000));
    assert_eq!(asked(&server, "GET /forward-auth", &[&long]).await.refusal(), (401, "TOKEN_MALFORMED".to_owned()));
    let beyond = format!("authorization: Bearer {}", "a".repeat(64 * 1024));
    assert_eq!(asked(&server, "GET /forward-auth", &[&beyond]).await.status, 431, "heads are bounded");
    let good = bearer(&server.user("alice").await.login().await);
    for two in [[good.as_str(), "authorization: Bearer b"], ["authorization: Basic YTpi", &good]] {
        assert_eq!(asked(&server, "GET /forward-auth", &two).await.refusal(), (401, "TOKEN_MALFORMED".to_owned()));
    }
    for bytes in [&b"authorization: Bearer \xff"[..], b"cookie: __Host-countersign-access=\xff"] {
        assert_eq!(http(server.http_addr, "GET /forward-auth", &[b"host: h", bytes], b"").await.status, 401);
    }
}
