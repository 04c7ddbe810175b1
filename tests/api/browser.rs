//! Sessions of browsers: `/session` and the login page.

use std::time::Duration;

use countersign::{
    config::{PolicyFile, Routes},
    domain::policy::BrowserSessions,
    grpc::v1::ListSessionsRequest,
};
use serde_json::json;

use crate::{
    http_client::{HttpAnswer, http},
    support::{PASSWORD, Proxy, Scratch, Setup, TestServer, live_sessions},
};

const ACCESS: &str = "__Host-countersign-access";
const REFRESH: &str = "__Host-countersign-refresh";
const DEVICE: &str = "__Host-countersign-device";
const JSON: &str = "content-type: application/json";
const FORM: &str = "content-type: application/x-www-form-urlencoded";

async fn setup() -> Setup {
    let mut setup = Setup::new().await;
    setup.settings.authz.browser_sessions = BrowserSessions::LoginPage;
    setup.settings.authz.allowed_origin = vec!["https://app.example".to_owned()];
    setup
}

async fn send(server: &TestServer, request: &str, headers: &[&str], body: &str) -> HttpAnswer {
    let headers: Vec<&[u8]> = std::iter::once("host: h").chain(headers.iter().copied()).map(str::as_bytes).collect();
    http(server.http_addr, request, &headers, body.as_bytes()).await
}

fn credentials(password: &str) -> String {
    json!({ "username": "alice", "password": password }).to_string()
}

/// The cookies that a browser has after an answer.
fn kept(answer: &HttpAnswer) -> String {
    let cookie = |name| format!("{name}={}", answer.cookie(name).expect("set"));
    format!("cookie: {}; {}", cookie(ACCESS), cookie(REFRESH))
}

#[tokio::test]
async fn a_session_is_opened_shown_refreshed_and_ended_and_no_script_sees_a_token() {
    let server = setup().await.start().await;
    let alice = server.user("alice").await;
    let opened = send(&server, "POST /session", &[JSON, "user-agent: a browser"], &credentials(PASSWORD)).await;
    assert_eq!((opened.status, opened.header("cache-control")), (200, Some("no-store")));
    assert_eq!(
        (opened.json()["user_id"].as_str(), opened.json()["roles"][0].as_str()),
        (Some(alice.id.as_str()), Some("reader"))
    );
    for cookie in opened.all("set-cookie") {
        assert!(cookie.contains("; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age="), "{cookie}");
        let value = cookie.split(['=', ';']).nth(1).expect("a value");
        assert!(!opened.body.contains(value), "{}", opened.body);
    }
    let cookies = kept(&opened);
    let shown = send(&server, "GET /session", &[&cookies], "").await;
    assert_eq!((shown.status, &shown.json()["session_id"]), (200, &opened.json()["session_id"]));
    let refreshed = send(&server, "POST /session/refresh", &[&cookies], "").await;
    assert_eq!(refreshed.status, 200);
    let cookies = kept(&refreshed);
    let ended = send(&server, "DELETE /session", &[&cookies], "").await;
    assert_eq!((ended.status, ended.json()), (200, json!({ "ended": true, "confirmed": true })));
    assert_eq!((ended.cookie(ACCESS), ended.cookie(REFRESH)), (Some(""), Some("")));
    let gone = send(&server, "GET /session", &[&cookies], "").await;
    assert_eq!(gone.refusal(), (401, "TOKEN_REVOKED".to_owned()));
    let again = send(&server, "DELETE /session", &[&cookies], "").await;
    assert_eq!((again.status, again.json()["ended"].as_bool()), (200, Some(false)));
    assert_eq!(send(&server, "DELETE /session", &[], "").await.status, 200, "ending nothing is fine");
}

#[tokio::test]
async fn p2_a_session_goes_on_when_its_access_token_has_expired() {
    let server = setup().await.start().await;
    server.user("alice").await;
    let opened = send(&server, "POST /session", &[JSON], &credentials(PASSWORD)).await;
    server.advance(Duration::from_secs(600)).await;
    let shown = send(&server, "GET /session", &[&kept(&opened)], "").await;
    assert_eq!(shown.status, 200);
    assert_eq!(send(&server, "GET /session", &[&kept(&shown)], "").await.all("set-cookie").len(), 0);
    assert_eq!(live_sessions(&server).await, 1);
}

#[tokio::test]
async fn each_refusal_of_a_login_is_told_apart_and_keeps_what_the_browser_has() {
    let mut setup = setup().await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    setup.settings.throttling.login_failures = 2;
    let server = setup.start().await;
    server.user("alice").await;
    let known = send(&server, "POST /session", &[JSON], &credentials(PASSWORD)).await;
    let device = format!("cookie: {DEVICE}={}", known.cookie(DEVICE).expect("a hint"));
    for (headers, body, expected) in [
        (&[JSON][..], credentials("wrong"), (401, "INVALID_CREDENTIALS")),
        (&[JSON], json!({ "username": "nobody", "password": "wrong" }).to_string(), (401, "INVALID_CREDENTIALS")),
        (&[JSON], "{".to_owned(), (400, "INVALID_ARGUMENT")),
        (&[JSON], "{}".to_owned(), (400, "INVALID_ARGUMENT")),
        (&["content-type: text/plain"], credentials(PASSWORD), (415, "INVALID_ARGUMENT")),
        (&[JSON], "x".repeat(1 << 20), (413, "INVALID_ARGUMENT")),
        (&[JSON], credentials("wrong"), (401, "INVALID_CREDENTIALS")),
        (&[JSON], credentials(PASSWORD), (429, "LOGIN_THROTTLED")),
    ] {
        let answer = send(&server, "POST /session", headers, &body).await;
        assert_eq!(answer.refusal(), (expected.0, expected.1.to_owned()), "{body:.60}");
        assert!(answer.all("set-cookie").is_empty(), "{body:.60}");
        assert_eq!(answer.header("retry-after").is_some(), expected.0 == 429, "{body:.60}");
    }
    let owner = send(&server, "POST /session", &[JSON, &device], &credentials(PASSWORD)).await;
    assert_eq!(owner.status, 200, "who guesses does not hold up the owner's browser");
    proxy.cut();
    let cookies = kept(&owner);
    for request in ["POST /session", "POST /session/refresh", "DELETE /session"] {
        let answer = send(&server, request, &[JSON, &cookies], &credentials(PASSWORD)).await;
        assert_eq!(answer.refusal(), (503, "DATABASE_UNAVAILABLE".to_owned()), "{request}");
        assert!(answer.all("set-cookie").is_empty(), "{request}");
    }
    assert_eq!(send(&server, "GET /session", &[&cookies], "").await.status, 200, "it is known in memory");
}

/// Of a proxy that is not listed, or of the client itself, the header says nothing.
#[tokio::test]
async fn the_address_of_a_browser_is_what_trusted_proxies_say() {
    let file = Scratch::of("");
    for trusted in [true, false] {
        let networks = if trusted { "127.0.0.0/8" } else { "10.0.0.0/8" };
        file.write(&format!("[trusted_proxies]\naddresses = [\"{networks}\"]\n"));
        let mut setup = setup().await;
        setup.callers.policy = Some(PolicyFile::read(file.text().into(), Routes::Matched).expect("read").current());
        setup.settings.throttling.login_failures_per_source = 2;
        let server = setup.start().await;
        let alice = server.user("alice").await;
        let from = async |forwarded: &str, password: &str| {
            let forwarded = format!("x-forwarded-for: {forwarded}");
            send(&server, "POST /session", &[JSON, &forwarded, "user-agent: a browser"], &credentials(password))
                .await
                .status
        };
        for name in ["bob", "carol", "dave"] {
            let body = json!({ "username": name, "password": "wrong" }).to_string();
            send(&server, "POST /session", &[JSON, "x-forwarded-for: 1.2.3.4, 203.0.113.9"], &body).await;
        }
        assert_eq!(from("203.0.113.9", PASSWORD).await, 429, "who guessed is held up");
        assert_eq!(from("203.0.113.10, 127.0.0.2", PASSWORD).await, if trusted { 200 } else { 429 });
        if trusted {
            let request = ListSessionsRequest { user_id: alice.id.clone(), ..Default::default() };
            let sessions = server.auth_client().list_sessions(request).await.expect("listed").into_inner().sessions;
            let client = sessions[0].client.clone().expect("a client");
            assert_eq!((client.ip.as_str(), client.user_agent.as_str()), ("203.0.113.10", "a browser"));
        }
    }
}

#[tokio::test]
async fn a_page_of_another_site_can_do_nothing_with_our_cookies() {
    let server = setup().await.start().await;
    server.user("alice").await;
    let opened = send(&server, "POST /session", &[JSON], &credentials(PASSWORD)).await;
    let cookies = kept(&opened);
    let form = format!("username=alice&password={}", PASSWORD.replace(' ', "+"));
    for foreign in
        ["sec-fetch-site: cross-site", "sec-fetch-site: same-site", "origin: https://evil.example", "origin: null"]
    {
        for request in ["POST /session", "POST /session/refresh", "DELETE /session"] {
            let answer = send(&server, request, &[FORM, &cookies, foreign], &form).await;
            assert_eq!(answer.refusal(), (403, "CROSS_ORIGIN".to_owned()), "{request} {foreign}");
            assert!(answer.header("access-control-allow-origin").is_none() && answer.all("set-cookie").is_empty());
        }
        for request in ["POST /login", "POST /logout"] {
            let answer = send(&server, request, &[FORM, &cookies, foreign], &form).await;
            assert_eq!((answer.status, answer.all("set-cookie").len()), (403, 0), "{request} {foreign}");
        }
    }
    let listed = ["origin: https://app.example", "sec-fetch-site: cross-site", &cookies];
    let preflight = send(&server, "OPTIONS /session", &listed[..2], "").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-methods")), (204, Some("GET, POST, DELETE")));
    let ended = send(&server, "DELETE /session", &listed, "").await;
    assert_eq!((ended.status, ended.header("access-control-allow-origin")), (200, Some("https://app.example")));
    assert_eq!(ended.header("access-control-allow-credentials"), Some("true"));
}

#[tokio::test]
async fn the_login_page_says_each_failure_in_words() {
    let mut setup = setup().await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    setup.settings.throttling.login_failures = 1;
    let server = setup.start().await;
    server.user("alice").await;
    let known = send(&server, "POST /session", &[JSON], &credentials(PASSWORD)).await;
    let page = send(&server, "GET /login?return_to=%2Forders", &["accept-language: ko-KR,ko;q=0.9"], "").await;
    assert_eq!((page.status, page.header("content-language")), (200, Some("ko")));
    assert!(
        page.body.contains("lang=\"ko\"") && page.body.contains("value=\"/orders\"") && !page.body.contains("<script")
    );
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header("referrer-policy"), Some("same-origin"), "else our own form has Origin: null");
    let form = |password: &str| format!("username=alice&password={}&return_to=%2Forders", password.replace(' ', "+"));
    for (body, status, words) in [
        (form("wrong"), 401, "The username or the password is wrong."),
        (form(PASSWORD), 429, "There were too many attempts."),
        ("username=alice".to_owned(), 400, "Please enter your username and your password."),
        (format!("{}&return_to=x", form("")), 400, "Please enter your username and your password."),
    ] {
        let answer = send(&server, "POST /login", &[FORM], &body).await;
        assert_eq!((answer.status, answer.all("set-cookie").len()), (status, 0), "{body}");
        assert!(answer.body.contains(words), "{}", answer.body);
    }
    for foreign in
        ["https%3A%2F%2Fevil.example%2F", "%2F%2Fevil.example", "%2F%5Cevil.example", "javascript%3Aalert(1)"]
    {
        let page = send(&server, &format!("GET /login?return_to={foreign}"), &[], "").await;
        assert_eq!((page.status, page.body.contains("evil")), (400, false), "{foreign}");
        let body = format!("username=alice&password=x&return_to={foreign}");
        let answer = send(&server, "POST /login", &[FORM], &body).await;
        assert_eq!((answer.status, answer.header("location")), (400, None), "{foreign}");
    }
    proxy.cut();
    let outage = send(&server, "POST /login", &[FORM], &form(PASSWORD)).await;
    assert!(outage.status == 503 && outage.body.contains("Nobody can log in at the moment."), "{}", outage.body);
    assert_eq!(send(&server, "GET /login", &[], "").await.status, 200, "the page is there");
    let unknown =
        send(&server, "GET /login", &[&format!("cookie: {REFRESH}={}", known.cookie(REFRESH).expect("set"))], "").await;
    assert!(unknown.status == 503 && unknown.body.contains("Nobody can log in at the moment."), "{}", unknown.body);
    let out = send(&server, "POST /logout", &[FORM, &kept(&known)], "").await;
    assert!(out.status == 503 && out.body.contains("You are still logged in."), "{}", out.body);
    assert!(out.body.contains("action=\"/logout\"") && out.all("set-cookie").is_empty(), "{}", out.body);
}

#[tokio::test]
async fn who_is_logged_in_is_led_on_and_can_log_out_without_a_script() {
    let server = setup().await.start().await;
    server.user("alice").await;
    let form = format!("username=alice&password={}&return_to=%2Forders", PASSWORD.replace(' ', "+"));
    let logged_in = send(&server, "POST /login", &[FORM], &form).await;
    assert_eq!((logged_in.status, logged_in.header("location")), (303, Some("/orders")));
    let cookies = kept(&logged_in);
    let led_on = send(&server, "GET /login?return_to=%2Forders", &[&cookies], "").await;
    assert_eq!((led_on.status, led_on.header("location")), (303, Some("/orders")));
    let page = send(&server, "GET /login", &[&cookies], "").await;
    assert!(page.status == 200 && page.body.contains("action=\"/logout\""), "{}", page.body);
    let out = send(&server, "POST /logout", &[FORM, &cookies], "").await;
    assert_eq!((out.status, out.header("location"), out.cookie(REFRESH)), (303, Some("/login?logged_out"), Some("")));
    assert!(send(&server, "GET /login?logged_out", &[&cookies], "").await.body.contains("You are logged out."));
    assert_eq!(live_sessions(&server).await, 0);
}

/// Whichever of them a server would take: a logout that says so has ended all.
#[tokio::test]
async fn a_logout_ends_the_session_of_each_cookie() {
    let server = setup().await.start().await;
    server.user("alice").await;
    for request in ["DELETE /session", "POST /logout"] {
        let (one, other) = (
            send(&server, "POST /session", &[JSON], &credentials(PASSWORD)).await,
            send(&server, "POST /session", &[JSON], &credentials(PASSWORD)).await,
        );
        let both = format!("{}; {}", kept(&one), kept(&other).replace("cookie: ", ""));
        let garbled = format!("cookie: {REFRESH}=garbage; {ACCESS}={}", one.cookie(ACCESS).expect("set"));
        let more = send(&server, "POST /session", &[JSON], &credentials(PASSWORD)).await;
        let carried = format!("cookie: {REFRESH}=x~{}", more.cookie(ACCESS).expect("set"));
        for cookies in [&both, &garbled, &carried] {
            let out = send(&server, request, &[FORM, cookies], "").await;
            assert!(out.status == 200 || out.status == 303, "{request}: {}", out.status);
        }
        assert_eq!(live_sessions(&server).await, 0, "{request}");
    }
}

#[tokio::test]
async fn what_is_not_turned_on_is_not_there() {
    for (sessions, expected) in [(BrowserSessions::Off, [404, 404]), (BrowserSessions::Endpoints, [401, 404])] {
        let mut setup = Setup::new().await;
        setup.settings.authz.browser_sessions = sessions;
        let server = setup.start().await;
        let status = async |request| send(&server, request, &[], "").await.status;
        assert_eq!([status("GET /session").await, status("GET /login").await], expected);
    }
}
