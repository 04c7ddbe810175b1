//! Check: Envoy asks whether a request may pass, and whose it is.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use countersign::{
    config::{PolicyFile, Routes},
    grpc::v1::{TokenPair, revoke_request::Target},
};
use prost::Message as _;
use prost_types::value::Kind;
use tokio::time::timeout;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::{
    envoy::{Allowed, CheckRequest, HeaderOption, Verdict, ask, check, cookie, question, set},
    http_client::http,
    support::{PASSWORD, Proxy, Scratch, Setup, TestServer, live_sessions, refusal},
};

const ACCESS: &str = "__Host-countersign-access";
const REFRESH: &str = "__Host-countersign-refresh";
const NAMES: [&str; 5] = ["user-id", "session-id", "roles", "audience", "username"];

fn bearer(tokens: &TokenPair) -> String {
    format!("Bearer {}", tokens.access_token)
}

fn cookies(tokens: &TokenPair) -> String {
    format!("a=1; {ACCESS}={}; {REFRESH}={}; b=2", tokens.access_token, tokens.refresh_token)
}

fn get(headers: &[(&str, &str)]) -> CheckRequest {
    question("GET", "shop.example.com/orders", headers)
}

/// The values of the headers that say whose a request is; each has to be set.
fn identity(allowed: &Allowed) -> [&str; 5] {
    NAMES.map(|name| set(&allowed.headers, &format!("x-auth-{name}")).expect("always set"))
}

async fn verdict(server: &TestServer, question: CheckRequest) -> Verdict {
    check(server.channel(), question).await.expect("an answer")
}

#[tokio::test]
async fn a_valid_token_passes_wherever_it_is_and_says_whose_it_is() {
    let mut setup = Setup::new().await;
    setup.settings.authz.token_query_parameter = Some("access_token".to_owned());
    setup.settings.tokens.token_username = true;
    let server = setup.start().await;
    let alice = server.user("älice").await;
    let tokens = alice.login().await;
    let (bearer, cookies) = (bearer(&tokens), cookies(&tokens));
    let carried = format!("{REFRESH}={}~{}", tokens.refresh_token, tokens.access_token);
    let in_query = format!("shop.example.com/ws?a=b&access_token={}", tokens.access_token);
    for question in [
        get(&[("authorization", &bearer)]),
        get(&[("authorization", &bearer.replace("Bearer", "bEARER"))]),
        get(&[("cookie", &cookies)]),
        get(&[("cookie", &cookies), ("authorization", "Basic YTpi")]),
        get(&[("cookie", &carried)]),
        question("GET", &in_query, &[("upgrade", "websocket")]),
    ] {
        for question in [question.clone(), question.raw()] {
            let Verdict::Passes(allowed, metadata) = verdict(&server, question).await else { panic!("denied") };
            let expected = [&alice.id, &tokens.session_id, "reader", "internal", "%C3%A4lice"];
            assert_eq!(identity(&allowed), expected);
            let text = |name: &str| match metadata.fields[name].kind.clone() {
                Some(Kind::StringValue(text)) => text,
                other => panic!("{other:?}"),
            };
            assert_eq!((text("user_id"), text("username")), (alice.id.clone(), "älice".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_denial_is_401_with_its_reason_and_a_role_or_an_audience_that_is_missing_403() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let expired = alice.login().await;
    server.advance(Duration::from_secs(600)).await;
    let (valid, revoked) = (alice.login().await, alice.login().await);
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    let twice = format!("{0},{0}", bearer(&valid));
    let two_cookies = format!("{ACCESS}={0}; {ACCESS}={0}", valid.access_token);
    for (headers, reason) in [
        (&[][..], "TOKEN_MISSING"),
        (&[("cookie", "a=1")], "TOKEN_MISSING"),
        (&[("authorization", "Basic YTpi")], "TOKEN_MISSING"),
        (&[("authorization", &bearer(&expired))], "TOKEN_EXPIRED"),
        (&[("authorization", &bearer(&revoked))], "TOKEN_REVOKED"),
        (&[("authorization", "Bearer garbage")], "TOKEN_MALFORMED"),
        (&[("authorization", &twice)], "TOKEN_MALFORMED"),
        (&[("authorization", "Bearer"), ("cookie", &cookies(&valid))], "TOKEN_MALFORMED"),
        (&[("cookie", &two_cookies)], "TOKEN_MALFORMED"),
    ] {
        let denied = verdict(&server, get(headers)).await;
        assert_eq!(denied.denied(), (401, reason.to_owned()), "{headers:?}");
        let Verdict::Denied(_, denied) = denied else { panic!("it passes") };
        let challenge = set(&denied.headers, "www-authenticate").expect("a challenge");
        match reason {
            "TOKEN_MISSING" => assert_eq!(challenge, "Bearer"),
            _ => assert_eq!(challenge, format!("Bearer error=\"invalid_token\", error_description=\"{reason}\"")),
        }
    }
    let bearer = bearer(&valid);
    for (extensions, expected) in [
        (&[("audience", "billing")][..], (403, "TOKEN_AUDIENCE_MISMATCH")),
        (&[("roles_any", "admin,staff")], (403, "ROLE_MISSING")),
        (&[("roles_all", "reader,admin")], (403, "ROLE_MISSING")),
        (&[("require-role", "reader")], (403, "ROUTE_MISCONFIGURED")),
        (&[("audience", "internal"), ("roles_al", "reader")], (403, "ROUTE_MISCONFIGURED")),
    ] {
        let denied = verdict(&server, get(&[("authorization", &bearer)]).with(extensions)).await.denied();
        assert_eq!(denied, (expected.0, expected.1.to_owned()), "{extensions:?}");
    }
    let met = [("audience", "internal"), ("roles_any", "admin, reader"), ("roles_all", "reader")];
    verdict(&server, get(&[("authorization", &bearer)]).with(&met)).await.passes();
}

#[tokio::test]
async fn an_optional_route_lets_in_who_has_no_token_and_nobody_with_headers_of_its_own() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    let optional = [("optional", "true")];
    for headers in [&[][..], &[("x-auth-user-id", "spoofed")], &[("cookie", &cookies(&tokens))]] {
        let allowed = verdict(&server, get(headers).with(&optional)).await.passes();
        assert_eq!(identity(&allowed), [""; 5], "{headers:?}");
    }
    let shown = get(&[("authorization", &bearer(&tokens))]).with(&optional);
    assert_eq!(verdict(&server, shown).await.denied(), (401, "TOKEN_REVOKED".to_owned()));
}

/// The hint of a device stays for a year after a logout, and so may a cookie of a session that has ended.
#[tokio::test]
async fn cookies_that_mean_nothing_hide_no_token_in_the_query() {
    let mut setup = Setup::new().await;
    setup.settings.authz.token_query_parameter = Some("t".to_owned());
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let (ended, live) = (alice.login().await, alice.login().await);
    alice.revoke(Target::SessionId(ended.session_id.clone())).await.expect("revoked");
    let target = format!("h/ws?t={}", live.access_token);
    let refresh = format!("{REFRESH}={}", ended.refresh_token);
    for cookie in ["__Host-countersign-device=x", &refresh, &cookies(&ended), "a=1"] {
        let allowed = verdict(&server, question("GET", &target, &[("cookie", cookie)])).await.passes();
        assert_eq!(identity(&allowed)[1], live.session_id, "{cookie:.40}");
    }
    let both = question("GET", "h/ws?t=garbage", &[("cookie", &cookies(&live))]);
    assert_eq!(identity(&verdict(&server, both).await.passes())[1], live.session_id, "a good cookie comes first");
}

#[tokio::test]
async fn a_denied_call_of_grpc_carries_our_error_info() {
    let server = TestServer::start().await;
    for (extensions, code, reason) in [
        (&[][..], Code::Unauthenticated, "TOKEN_MISSING"),
        (&[("audienc", "x")], Code::PermissionDenied, "ROUTE_MISCONFIGURED"),
    ] {
        let asked =
            question("POST", "shop.example.com/orders.v1.Orders/Get", &[("content-type", "application/grpc+proto")]);
        let Verdict::Denied(_, denied) = verdict(&server, asked.with(extensions)).await else { panic!("it passes") };
        assert_eq!(set(&denied.headers, "grpc-status"), Some((code as i32).to_string().as_str()));
        let details = STANDARD_NO_PAD.decode(set(&denied.headers, "grpc-status-details-bin").expect("details"));
        let status = tonic_types::pb::Status::decode(details.expect("base64").as_slice()).expect("a status");
        assert_eq!((status.code, &status.message), (code as i32, &denied.body), "as clients compare them");
        let mut status = tonic::Status::with_details(code, status.message.clone(), status.encode_to_vec().into());
        let trailer = set(&denied.headers, "countersign-reason").expect("the reason in one line");
        status.metadata_mut().insert("countersign-reason", trailer.parse().expect("ASCII"));
        assert_eq!(refusal::<()>(Err(status)), (code, reason.to_owned()));
    }
}

#[tokio::test]
async fn p1_what_was_revoked_does_not_pass_and_p4_trouble_of_ours_is_no_denial() {
    let mut setup = Setup::new().await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let (revoked, valid) = (alice.login().await, alice.login().await);
    let by_header = |tokens| get(&[("authorization", &bearer(tokens))]);
    verdict(&server, by_header(&revoked)).await.passes();
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    assert_eq!(verdict(&server, by_header(&revoked)).await.denied(), (401, "TOKEN_REVOKED".to_owned()));
    proxy.cut();
    verdict(&server, by_header(&valid)).await.passes();
    server.clock.advance(Duration::from_secs(31));
    for question in [by_header(&valid), by_header(&revoked), get(&[("cookie", &cookies(&valid))])] {
        let stale = check(server.channel(), question).await.map(|verdict| format!("{verdict:?}"));
        assert_eq!(refusal(stale), (Code::Unavailable, "REVOCATIONS_STALE".to_owned()));
    }
}

#[tokio::test]
async fn p2_a_browsers_session_goes_on_within_the_call() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let sent = cookies(&tokens);
    server.advance(Duration::from_secs(600)).await;
    let allowed = verdict(&server, get(&[("cookie", &sent)])).await.passes();
    assert_eq!(identity(&allowed)[1], tokens.session_id);
    let (access, refresh) =
        (cookie(&allowed.response_headers_to_add, ACCESS), cookie(&allowed.response_headers_to_add, REFRESH));
    let (access, refresh) = (access.expect("set"), refresh.expect("set"));
    let beside = |option: &&HeaderOption| option.append_action == 0;
    assert_eq!(allowed.response_headers_to_add.iter().filter(beside).count(), 2, "beside the upstream's own");
    let cached = set(&allowed.response_headers_to_add, "cache-control");
    assert_eq!(cached, Some("private, no-store"), "whatever the upstream lets caches keep");
    alice.verify(access).await.expect("a new access token");
    assert_eq!(
        set(&allowed.headers, "cookie"),
        Some(format!("a=1; b=2; {ACCESS}={access}").as_str()),
        "for the upstream"
    );
    // The same cookies again, as of a page that loads many things at once, and of one that never saw the answer.
    let again = verdict(&server, get(&[("cookie", &sent)])).await.passes();
    assert_eq!(cookie(&again.response_headers_to_add, REFRESH), Some(refresh), "one chain of rotations");
    let next = format!("{ACCESS}={access}; {REFRESH}={refresh}");
    let quiet = verdict(&server, get(&[("cookie", &next)])).await.passes();
    assert!(quiet.response_headers_to_add.is_empty(), "as long as the access token lives");
    assert_eq!(live_sessions(&server).await, 1);
}

#[tokio::test]
async fn p2_what_is_late_or_ended_clears_no_cookies_and_what_was_used_twice_does() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (ended, stolen) = (alice.login().await, alice.login().await);
    let cleared = |verdict: Verdict| match verdict {
        Verdict::Denied(status, denied) => {
            (status, [ACCESS, REFRESH].map(|name| cookie(&denied.headers, name) == Some("")))
        }
        Verdict::Passes(..) => panic!("it passes"),
    };
    alice.revoke(Target::SessionId(ended.session_id.clone())).await.expect("revoked");
    let (mut last, first) = (stolen.clone(), stolen);
    for _ in 0..9 {
        last = alice.rotate(&last.refresh_token).await;
        server.advance(Duration::from_secs(60)).await;
    }
    server.advance(Duration::from_secs(600)).await;
    for known in [true, false] {
        let sent = if known { cookies(&ended) } else { format!("{REFRESH}={}", ended.refresh_token) };
        assert_eq!(cleared(verdict(&server, get(&[("cookie", &sent)])).await), (401, [false; 2]));
    }
    let reused = verdict(&server, get(&[("cookie", &cookies(&first))])).await;
    assert_eq!(reused.denied().1, "REFRESH_TOKEN_REUSED");
    assert_eq!(cleared(reused), (401, [true; 2]));
}

#[tokio::test]
async fn p4_what_memory_knows_is_not_asked_of_the_database() {
    let mut setup = Setup::new().await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    proxy.cut();
    let asked = get(&[("cookie", &cookies(&tokens))]);
    assert_eq!(verdict(&server, asked).await.denied(), (401, "TOKEN_REVOKED".to_owned()));
}

/// The former tokens are used up, whatever the answer is.
#[tokio::test]
async fn p2_a_page_that_is_forbidden_costs_no_session() {
    let server = TestServer::start().await;
    let mut sent = cookies(&server.user("alice").await.login().await);
    for _ in 0..12 {
        server.advance(Duration::from_secs(600)).await;
        let asked = get(&[("cookie", &sent)]).with(&[("roles_all", "admin")]);
        let Verdict::Denied(403, denied) = verdict(&server, asked).await else { panic!("not forbidden") };
        let kept = [ACCESS, REFRESH].map(|name| format!("{name}={}", cookie(&denied.headers, name).expect("set")));
        sent = kept.join("; ");
    }
    verdict(&server, get(&[("cookie", &sent)])).await.passes();
}

/// As behind Caddy's `forward_auth`, which hands no cookie on: the browser shows its first refresh token for ever.
#[tokio::test]
async fn p2_a_proxy_that_hands_no_cookie_on_ends_no_session() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        server.advance(Duration::from_secs(600)).await;
        statuses.push(match verdict(&server, get(&[("cookie", &cookies(&tokens))])).await {
            Verdict::Passes(..) => 200,
            denied => denied.denied().0,
        });
    }
    assert_eq!((&statuses[..7], &statuses[19..]), (&[200; 7][..], &[401][..]), "{statuses:?}");
    alice.rotate(&tokens.refresh_token).await;
    assert_eq!(live_sessions(&server).await, 1);
}

#[tokio::test]
async fn p4_a_session_that_cannot_go_on_in_an_outage_is_undecided_and_goes_on_afterwards() {
    let mut setup = Setup::new().await;
    let proxy = Proxy::before(&setup.database_url);
    (setup.database_url, setup.database_deadline) = (proxy.url(), Duration::from_millis(200));
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    server.advance(Duration::from_secs(600)).await;
    let asked = || get(&[("cookie", &cookies(&tokens))]);
    proxy.freeze();
    let unavailable = (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned());
    assert_eq!(refusal(check(server.channel(), asked()).await), unavailable);
    // Whoever asks is answered before it gives up.
    let mut hasty = Request::new(asked());
    hasty.set_timeout(Duration::from_millis(150));
    assert_eq!(refusal(ask(server.channel(), hasty).await), unavailable);
    proxy.mend();
    server.catch_up().await;
    verdict(&server, asked()).await.passes();
    assert_eq!(live_sessions(&server).await, 1);
}

#[tokio::test]
async fn p2_a_killed_key_ends_no_session_of_a_browser() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let kid = jsonwebtoken::decode_header(&tokens.access_token).expect("a header").kid.expect("a kid");
    server.auth.keys.kill(&kid).await.expect("killed");
    server.catch_up().await;
    let shown = get(&[("authorization", &bearer(&tokens))]);
    assert_eq!(verdict(&server, shown).await.denied(), (401, "TOKEN_REVOKED".to_owned()));
    let allowed = verdict(&server, get(&[("cookie", &cookies(&tokens))])).await.passes();
    assert!(cookie(&allowed.response_headers_to_add, ACCESS).is_some());
}

#[tokio::test]
async fn the_token_is_removed_from_what_is_passed_on_where_a_setting_says_so() {
    let mut setup = Setup::new().await;
    setup.settings.authz.remove_token = true;
    setup.settings.authz.token_query_parameter = Some("t".to_owned());
    let server = setup.start().await;
    let tokens = server.user("alice").await.login().await;
    let by_header = verdict(&server, get(&[("authorization", &bearer(&tokens))])).await.passes();
    assert_eq!(by_header.headers_to_remove, ["authorization"]);
    let by_cookie = verdict(&server, get(&[("cookie", &cookies(&tokens))])).await.passes();
    assert_eq!((set(&by_cookie.headers, "cookie"), by_cookie.headers_to_remove.len()), (Some("a=1; b=2"), 0));
    let alone = format!("{ACCESS}={}", tokens.access_token);
    let alone = verdict(&server, get(&[("cookie", &alone)])).await.passes();
    assert_eq!(alone.headers_to_remove, ["cookie"]);
    let target = format!("h/ws?t={}", tokens.access_token);
    let everywhere = question("GET", &target, &[("authorization", &bearer(&tokens)), ("cookie", &cookies(&tokens))]);
    for question in [question("GET", &target, &[]), everywhere.clone()] {
        assert_eq!(verdict(&server, question).await.passes().query_parameters_to_remove, ["t"]);
    }
    let everywhere = verdict(&server, everywhere).await.passes();
    assert_eq!(everywhere.headers_to_remove, ["authorization"], "whichever counted");
    assert_eq!(set(&everywhere.headers, "cookie"), Some("a=1; b=2"));
}

#[tokio::test]
async fn the_route_policy_decides_by_host_path_and_method() {
    let file = Scratch::of(
        "[[routes]]\npath = \"/public\"\nmethods = [\"GET\"]\naccess = \"public\"\n\
         [[routes]]\nhost = \"admin.example.com\"\nroles_any = [\"admin\"]\n\
         [[routes]]\npath = \"/maybe\"\naccess = \"optional\"\n",
    );
    let mut setup = Setup::new().await;
    setup.callers.policy = Some(PolicyFile::read(file.text().into(), Routes::Matched).expect("read").current());
    let server = setup.start().await;
    let tokens = server.user("alice").await.login().await;
    let bearer = bearer(&tokens);
    let asked = async |method: &str, target: &str, with: bool| {
        let headers = [("authorization", bearer.as_str())];
        let headers = if with { &headers[..] } else { &[] };
        match verdict(&server, question(method, target, headers)).await {
            Verdict::Passes(allowed, _) => identity(&allowed)[0].to_owned(),
            denied => denied.denied().1,
        }
    };
    let alice = identity_of(&server, &bearer).await;
    for (method, target, with, expected) in [
        ("GET", "shop.example.com/public/x?y=/../z", false, ""),
        ("GET", "shop.example.com/public", true, ""),
        ("POST", "shop.example.com/public", false, "TOKEN_MISSING"),
        ("GET", "shop.example.com/publicity", false, "TOKEN_MISSING"),
        ("GET", "shop.example.com/public/../orders", false, "ROUTE_AMBIGUOUS"),
        ("GET", "shop.example.com//public", true, "ROUTE_AMBIGUOUS"),
        ("GET", "shop.example.com/public/%2e%2e/orders", false, "ROUTE_AMBIGUOUS"),
        ("GET", "ADMIN.example.com:8443/", true, "ROLE_MISSING"),
        ("GET", "admin.example.com/public", false, ""),
        ("GET", "shop.example.com/maybe", false, ""),
        ("GET", "shop.example.com/maybe", true, alice.as_str()),
        ("GET", "shop.example.com/orders", true, alice.as_str()),
    ] {
        assert_eq!(asked(method, target, with).await, expected, "{method} {target} {with}");
    }
}

async fn identity_of(server: &TestServer, bearer: &str) -> String {
    let question = question("GET", "shop.example.com/orders", &[("authorization", bearer)]);
    identity(&verdict(server, question).await.passes())[0].to_owned()
}

#[tokio::test]
async fn bad_input_is_denied_and_loses_nothing() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    let huge = format!("Bearer {}", "a".repeat(64 * 1024));
    let forty = format!("{ACCESS}=x; ").repeat(40);
    for headers in [&[("authorization", huge.as_str())][..], &[("cookie", &forty)]] {
        assert_eq!(verdict(&server, get(headers)).await.denied(), (401, "TOKEN_MALFORMED".to_owned()));
    }
    // What is no text can only come from an Envoy that encodes headers raw.
    let mut not_text = get(&[("authorization", "Bearer x"), ("cookie", "a=1")]).raw();
    for header in &mut not_text.http().header_map.as_mut().expect("headers").headers {
        if header.key == "authorization" {
            header.raw_value = b"Bearer \xff\xfe".to_vec();
        }
    }
    assert_eq!(verdict(&server, not_text).await.denied(), (401, "TOKEN_MALFORMED".to_owned()));
    let mut cookie = get(&[("cookie", &cookies(&tokens))]).raw();
    for header in &mut cookie.http().header_map.as_mut().expect("headers").headers {
        if header.key == "cookie" {
            header.raw_value.extend_from_slice(b"; c=\xff");
        }
    }
    verdict(&server, cookie).await.passes();
    let mut large = get(&[("authorization", &bearer(&tokens))]);
    large.http().body = "x".repeat(1 << 20);
    verdict(&server, large).await.passes();
    let empty = check(server.channel(), CheckRequest::default()).await;
    assert_eq!(refusal(empty).0, Code::InvalidArgument);
}

/// Each answer is held against what Envoy makes of it by `support/envoy.rs`: this goes through all kinds of questions.
#[tokio::test]
async fn no_question_has_an_answer_that_opens_a_door_by_default() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    let (bearer, cookies) = (bearer(&tokens), cookies(&tokens));
    let headers: [&[(&str, &str)]; 6] = [
        &[],
        &[("authorization", &bearer)],
        &[("cookie", &cookies)],
        &[("authorization", "Bearer x")],
        &[("authorization", &bearer), ("content-type", "application/grpc")],
        &[("cookie", &cookies), ("authorization", "Bearer")],
    ];
    let extensions: [&[(&str, &str)]; 5] =
        [&[], &[("optional", "true")], &[("audience", "other")], &[("roles_all", "none")], &[("x", "y")]];
    let mut seen = BTreeMap::new();
    for headers in headers {
        for extensions in extensions {
            for target in ["h/", "h/a%zz", "h/?access_token=x"] {
                let kind = match verdict(&server, question("GET", target, headers).with(extensions)).await {
                    Verdict::Passes(..) => 200,
                    Verdict::Denied(status, _) => status,
                };
                *seen.entry(kind).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen.keys().copied().collect::<Vec<_>>(), [200, 401, 403], "{seen:?}");
}

#[tokio::test]
async fn its_name_is_among_those_whose_health_is_told() {
    let server = TestServer::start().await;
    let mut client = HealthClient::new(server.channel());
    let request = HealthCheckRequest { service: "envoy.service.auth.v3.Authorization".to_owned() };
    let serving = async {
        let mut status = ServingStatus::Unknown;
        while status != ServingStatus::Serving {
            status = client.check(request.clone()).await.expect("known").into_inner().status();
        }
    };
    timeout(Duration::from_secs(60), serving).await.expect("it serves");
}

#[tokio::test]
async fn a_browser_that_asks_for_a_page_is_led_to_the_login_page_where_there_is_one() {
    let mut setup = Setup::new().await;
    setup.settings.authz.browser_sessions = countersign::domain::policy::BrowserSessions::LoginPage;
    let server = setup.start().await;
    server.user("alice").await;
    let navigates = [("sec-fetch-mode", "navigate")];
    let target = "shop.example.com/orders?a=1&b=%2F";
    let Verdict::Denied(302, denied) = verdict(&server, question("GET", target, &navigates)).await else {
        panic!("not led")
    };
    let location = set(&denied.headers, "location").expect("a place");
    assert_eq!(location, "/login?return_to=/orders%3Fa%3D1%26b%3D%252F");
    let page = http(server.http_addr, &format!("GET {location}"), &[b"host: h"], b"").await;
    assert!(page.status == 200 && page.body.contains("value=\"/orders?a=1&amp;b=%2F\""), "{}", page.body);
    for (method, headers) in [("POST", &navigates[..]), ("GET", &[("sec-fetch-mode", "cors")]), ("GET", &[])] {
        assert_eq!(verdict(&server, question(method, target, headers)).await.denied().0, 401);
    }
    let form = format!("username=alice&password={}&return_to=%2Forders", PASSWORD.replace(' ', "+"));
    let kind = b"content-type: application/x-www-form-urlencoded";
    let logged_in = http(server.http_addr, "POST /login", &[b"host: h", kind], form.as_bytes()).await;
    assert_eq!((logged_in.status, logged_in.header("location")), (303, Some("/orders")));
    let session = format!("{ACCESS}={}", logged_in.cookie(ACCESS).expect("set"));
    verdict(&server, question("GET", target, &[("cookie", &session)])).await.passes();
}
