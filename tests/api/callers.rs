//! Callers with identities over real gRPC: what a policy file lets each ask for. Every RPC times every class of callers is a
//! table in `edge/gate.rs`.

use std::{process::Command, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{
    config::{PolicyFile, Routes},
    crypto::service_token::{ServiceTokenHash, sha256},
    edge::{Callers, Defaults},
    grpc::v1::{
        ClientInfo, CreateUserRequest, GetJwksRequest, ListSessionsRequest, LoginRequest, LoginResponse,
        RefreshRequest, RevokeRequest, Roles, TokenPair, UpdateUserRequest, VerifyBatchRequest, VerifyRequest,
        auth_service_client::AuthServiceClient, revoke_request::Target,
    },
};
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::{
    ADMIN_TOKEN, PASSWORD, Process, Scratch, Setup, TestServer, User, administering, database, refusal,
};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
const DENIED: (Code, &str) = (Code::PermissionDenied, "CALLER_NOT_ALLOWED");
const XFCC: &str = "x-forwarded-client-cert";

/// The entry of a service token for the policy file.
fn token(name: &str, tokens: &[&str]) -> String {
    let hashes: Vec<String> = tokens.iter().map(|token| format!("\"{}\"", hash(token))).collect();
    format!("[[tokens]]\nname = \"{name}\"\nsha256 = [{}]\n", hashes.join(", "))
}

fn hash(token: &str) -> String {
    sha256(token.as_bytes()).map(|byte| format!("{byte:02x}")).concat()
}

/// A policy file that lets two services, `web` and `api`, do what `grants` say, and nobody else anything.
fn two(web: &str, api: &str) -> String {
    let entry = |name, grants| format!("[[callers]]\nid = \"token:{name}\"\n{grants}\n{}", token(name, &[name]));
    format!("{}{}", entry("web", web), entry("api", api))
}

/// A server with this policy file, and the token of administrators.
async fn server(policy: &str) -> TestServer {
    let mut setup = Setup::new().await;
    let file = Scratch::of(policy);
    let policy = PolicyFile::read(file.text().into(), Routes::Matched).expect("a policy").current();
    let admin_token = ServiceTokenHash::from_file_content(ADMIN_TOKEN).expect("a token");
    setup.callers = Callers { policy: Some(policy), ..Callers::new(Defaults::Open, Some(admin_token)) };
    setup.settings.tokens.audience = vec!["orders".to_owned(), "billing".to_owned()];
    setup.start().await
}

/// The request of the caller with this token.
fn from<T>(token: &str, request: T) -> Request<T> {
    with(request, "authorization", &format!("Bearer {token}"))
}

fn with<T>(request: T, header: &'static str, value: &str) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert(header, value.parse().expect("a header"));
    request
}

fn login_of(user: &User) -> LoginRequest {
    LoginRequest { username: user.name.clone(), password: PASSWORD.to_owned(), ..LoginRequest::default() }
}

async fn login(server: &TestServer, token: &str, user: &User) -> Result<TokenPair, Status> {
    let answer: LoginResponse = server.auth_client().login(from(token, login_of(user))).await?.into_inner();
    Ok(answer.tokens.expect("tokens"))
}

async fn refresh(server: &TestServer, token: &str, refresh_token: &str) -> Result<TokenPair, Status> {
    let request = RefreshRequest { refresh_token: refresh_token.to_owned(), ..RefreshRequest::default() };
    Ok(server.auth_client().refresh(from(token, request)).await?.into_inner().tokens.expect("tokens"))
}

fn denied<T: std::fmt::Debug>(result: Result<T, Status>) {
    let (code, reason) = refusal(result);
    assert_eq!((code, reason.as_str()), DENIED);
}

fn claim(tokens: &TokenPair, name: &str) -> serde_json::Value {
    let payload = tokens.access_token.split('.').nth(1).expect("a payload");
    let claims = URL_SAFE_NO_PAD.decode(payload).expect("base64");
    serde_json::from_slice::<serde_json::Value>(&claims).expect("JSON")[name].take()
}

#[tokio::test]
async fn a_listed_caller_may_call_what_its_entry_says_and_is_the_client_of_its_sessions() {
    let server = server(&two("rpcs = [\"Login\"]", "rpcs = [\"Verify\", \"GetJwks\"]")).await;
    let alice = server.user("alice").await;
    let tokens = login(&server, "web", &alice).await.expect("logged in");
    assert_eq!(claim(&tokens, "client_id"), "token:web");
    let verify = VerifyRequest { access_token: tokens.access_token.clone(), ..VerifyRequest::default() };
    server.auth_client().verify(from("api", verify.clone())).await.expect("verified");
    for refused in [from("web", verify.clone()), from("other", verify.clone()), Request::new(verify)] {
        denied(server.auth_client().verify(refused).await);
    }
    denied(login(&server, "api", &alice).await);
    denied(server.auth_client().get_jwks(GetJwksRequest {}).await);
    let tokens = login(&server, ADMIN_TOKEN, &alice).await.expect("administrators may do everything");
    assert_eq!(claim(&tokens, "client_id"), "token:admin");
}

#[tokio::test]
async fn a_denied_caller_leaves_an_event_that_is_counted() {
    let server = server(&two("rpcs = [\"Login\"]", "rpcs = []")).await;
    for caller in ["web", "web", "nobody"] {
        denied(server.auth_client().get_jwks(from(caller, GetJwksRequest {})).await);
    }
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let listing = "SELECT caller, reason, detail, client_ip, sum(count)::bigint FROM audit_events \
                   WHERE kind = 'caller_refused' AND actor = 'caller' GROUP BY 1, 2, 3, 4 ORDER BY 1";
    let written = async {
        loop {
            server.auth.base.audit.write_last_refusals().await.expect("written");
            let rows: Vec<(String, String, String, String, i64)> =
                sqlx::query_as(listing).fetch_all(&mut connection).await.expect("listed");
            if rows.iter().map(|row| row.4).sum::<i64>() == 3 {
                return rows;
            }
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(60), written).await.expect("they are written");
    let event = |caller: &str, reason: &str, count| {
        (caller.to_owned(), reason.to_owned(), "AuthService/GetJwks".to_owned(), "127.0.0.1".to_owned(), count)
    };
    assert_eq!(written, [event("", "no_credential", 1), event("token:web", "not_allowed", 2)]);
}

#[tokio::test]
async fn r33_a_bound_session_is_refreshed_for_the_client_that_opened_it_alone() {
    let bound = "rpcs = [\"Login\", \"Refresh\", \"Verify\"]\nbind_sessions = true";
    let server = server(&two(bound, "rpcs = [\"Login\", \"Refresh\"]")).await;
    let alice = server.user("alice").await;
    let first = login(&server, "web", &alice).await.expect("logged in");
    denied(refresh(&server, "api", &first.refresh_token).await);
    denied(refresh(&server, ADMIN_TOKEN, &first.refresh_token).await);
    let second = refresh(&server, "web", &first.refresh_token).await.expect("refreshed");
    let third = refresh(&server, "web", &second.refresh_token).await.expect("refreshed");
    // An old one would end the session if it came from its client.
    for old in [&first, &second, &third] {
        denied(refresh(&server, "api", &old.refresh_token).await);
    }
    let verify = VerifyRequest { access_token: third.access_token.clone(), ..VerifyRequest::default() };
    server.auth_client().verify(from("web", verify)).await.expect("it lives");
    refresh(&server, "web", &third.refresh_token).await.expect("refreshed");
    assert_eq!(refusal(refresh(&server, "web", &first.refresh_token).await).1, "REFRESH_TOKEN_REUSED");
}

#[tokio::test]
async fn r33_a_session_that_is_not_bound_is_refreshed_for_whoever_holds_its_token() {
    let bound = "rpcs = [\"Login\", \"Refresh\"]\nbind_sessions = true";
    let server = server(&two(bound, "rpcs = [\"Login\", \"Refresh\"]")).await;
    let alice = server.user("alice").await;
    let mut tokens = login(&server, "api", &alice).await.expect("logged in");
    for caller in ["web", "api", "web"] {
        tokens = refresh(&server, caller, &tokens.refresh_token).await.expect("refreshed");
        assert_eq!(claim(&tokens, "client_id"), "token:api", "who opened it");
    }
}

#[tokio::test]
async fn a_login_asks_for_the_audiences_of_its_caller_alone() {
    let some = "rpcs = [\"Login\"]\naudiences = [\"orders\", \"elsewhere\"]";
    let server = server(&two(some, "rpcs = [\"Login\"]\naudiences = [\"elsewhere\"]")).await;
    let alice = server.user("alice").await;
    let tokens = login(&server, "web", &alice).await.expect("logged in");
    assert_eq!(claim(&tokens, "aud"), serde_json::json!(["orders"]), "not all that the server has");
    let asking = |audience: &[&str]| LoginRequest {
        audience: audience.iter().map(|name| (*name).to_owned()).collect(),
        ..login_of(&alice)
    };
    server.auth_client().login(from("web", asking(&["orders"]))).await.expect("logged in");
    denied(server.auth_client().login(from("web", asking(&["orders", "billing"]))).await);
    denied(login(&server, "api", &alice).await);
}

#[tokio::test]
async fn roles_are_given_by_callers_that_may_give_them() {
    let some = "rpcs = [\"CreateUser\", \"UpdateUser\", \"ImportUsers\"]\nroles = [\"reader\"]";
    let server = server(&two(some, "rpcs = []")).await;
    let user = |name: &str, role: &str| CreateUserRequest {
        username: name.to_owned(),
        password: PASSWORD.to_owned(),
        roles: vec![role.to_owned()],
    };
    let created = server.user_client().create_user(from("web", user("bob", "reader"))).await.expect("created");
    denied(server.user_client().create_user(from("web", user("eve", "admin"))).await);
    let update = |roles: &[&str]| UpdateUserRequest {
        user_id: created.get_ref().user.as_ref().expect("a user").user_id.clone(),
        roles: Some(Roles { names: roles.iter().map(|role| (*role).to_owned()).collect() }),
        ..UpdateUserRequest::default()
    };
    denied(server.user_client().update_user(from("web", update(&["reader", "admin"]))).await);
    server.user_client().update_user(from("web", update(&[]))).await.expect("updated");
    let row = countersign::grpc::v1::ImportedUser {
        username: "eve".to_owned(),
        roles: vec!["admin".to_owned()],
        ..Default::default()
    };
    let import = countersign::grpc::v1::ImportUsersRequest { users: vec![row], ..Default::default() };
    denied(server.user_client().import_users(from("web", tokio_stream::once(import))).await);
}

#[tokio::test]
async fn a_caller_names_sessions_by_id_and_addresses_of_clients_if_its_entry_says_so() {
    let may = "rpcs = [\"Login\", \"Revoke\"]\nrevoke_by_id = true\nname_client_addresses = true";
    let server = server(&two(may, "rpcs = [\"Login\", \"Revoke\"]")).await;
    let alice = server.user("alice").await;
    let client = Some(ClientInfo { ip: "192.0.2.7".into(), device: "phone".into(), ..ClientInfo::default() });
    for (caller, shown) in [("web", "192.0.2.7"), ("api", "")] {
        let request = LoginRequest { client: client.clone(), ..login_of(&alice) };
        let answer = server.auth_client().login(from(caller, request)).await.expect("logged in").into_inner();
        let listing = ListSessionsRequest { user_id: alice.id.clone(), ..ListSessionsRequest::default() };
        let sessions = server.auth_client().list_sessions(administering(listing)).await.expect("listed").into_inner();
        let id = answer.tokens.expect("tokens").session_id;
        let session = sessions.sessions.into_iter().find(|session| session.session_id == id).expect("it is there");
        let client = session.client.expect("a client");
        assert_eq!((client.ip.as_str(), client.device.as_str()), (shown, "phone"), "{caller}");
        let by_id = RevokeRequest { target: Some(Target::SessionId(id)), ..RevokeRequest::default() };
        denied(server.auth_client().revoke(from("api", by_id.clone())).await);
        server.auth_client().revoke(from("web", by_id)).await.expect("revoked");
    }
    let held = login(&server, "api", &alice).await.expect("logged in").refresh_token;
    let by_token = RevokeRequest { target: Some(Target::RefreshToken(held)), ..RevokeRequest::default() };
    let ended = server.auth_client().revoke(from("api", by_token)).await.expect("revoked").into_inner();
    assert_eq!(ended.sessions_revoked, 1);
}

#[tokio::test]
async fn a_caller_above_its_rate_is_told_to_wait_and_holds_up_no_other() {
    let rates = "rpcs = [\"Login\", \"Verify\", \"VerifyBatch\"]\nlogin_rate = \"1/m\"\nverify_rate = \"3/m\"";
    let server = server(&two(rates, rates)).await;
    let alice = server.user("alice").await;
    let tokens = login(&server, "web", &alice).await.expect("logged in");
    let refused = login(&server, "web", &alice).await.expect_err("too often");
    let wait = refused.get_details_retry_info().expect("RetryInfo").retry_delay;
    assert_eq!(wait, Some(Duration::from_secs(60)));
    assert_eq!(refusal::<()>(Err(refused)), (Code::ResourceExhausted, "CALLER_THROTTLED".to_owned()));
    login(&server, "api", &alice).await.expect("logged in");
    let verify = || VerifyRequest { access_token: tokens.access_token.clone(), ..VerifyRequest::default() };
    let batch =
        VerifyBatchRequest { access_tokens: vec![tokens.access_token.clone(); 2], ..VerifyBatchRequest::default() };
    server.auth_client().verify_batch(from("web", batch.clone())).await.expect("verified");
    server.auth_client().verify(from("web", verify())).await.expect("verified");
    assert_eq!(refusal(server.auth_client().verify(from("web", verify())).await).1, "CALLER_THROTTLED");
    assert_eq!(refusal(server.auth_client().verify_batch(from("web", batch)).await).1, "CALLER_THROTTLED");
    server.auth_client().verify(from("api", verify())).await.expect("verified");
    server.advance(Duration::from_secs(60)).await;
    login(&server, "web", &alice).await.expect("logged in");
}

#[tokio::test]
async fn a_forwarded_certificate_is_believed_from_a_trusted_proxy_alone() {
    let entry = "[[callers]]\nid = \"spiffe://e/ns/shop/*\"\nrpcs = [\"GetJwks\"]\n";
    let trusted = server(&format!("{entry}[trusted_proxies]\naddresses = [\"127.0.0.0/8\"]\n")).await;
    let stranger = server(entry).await;
    let call = async |server: &TestServer, xfcc: &str| {
        server.auth_client().get_jwks(with(GetJwksRequest {}, XFCC, xfcc)).await
    };
    let good = "By=spiffe://e/gateway;Hash=1;URI=spiffe://e/ns/shop/web";
    call(&trusted, good).await.expect("believed");
    denied(call(&stranger, good).await);
    for bad in ["URI=spiffe://e/ns/else/x", "URI=spiffe://e/ns/shop/web,By=spiffe://e/gateway", "URI=\"spiffe", ""] {
        denied(call(&trusted, bad).await);
    }
    denied(trusted.auth_client().get_jwks(GetJwksRequest {}).await);
}

#[tokio::test]
async fn tokens_are_rotated_and_callers_changed_while_the_server_runs() {
    let entry = |rpcs: &str| format!("\u{feff}[[callers]]\r\nid = \"token:web\"\r\nrpcs = [{rpcs}]\r\n");
    let file = Scratch::of(&format!("{}{}", entry("\"GetJwks\""), token("web", &["old"])));
    let mut process = Process::start(BINARY, &database().await, &["--policy-file", file.text()]).await;
    let mut client = AuthServiceClient::new(process.channel());
    for (rpcs, tokens, allowed) in [
        ("\"GetJwks\"", &["old"][..], [true, false]),
        ("\"GetJwks\"", &["old", "new"], [true, true]),
        ("\"GetJwks\"", &["new"], [false, true]),
        ("", &["new"], [false, false]),
        ("\"AuthService/*\"", &["new"], [false, true]),
    ] {
        file.write(&format!("{}{}", entry(rpcs), token("web", tokens)));
        process.hang_up();
        process.logged("read the policy file").await;
        for (token, allowed) in ["old", "new"].into_iter().zip(allowed) {
            let called = client.get_jwks(from(token, GetJwksRequest {})).await;
            assert_eq!(called.is_ok(), allowed, "{token}, {tokens:?}, {rpcs}");
        }
    }
    file.write("[[callers]]\nid = \"token:lost\"\nrpcs = []\n");
    process.hang_up();
    process.logged("the policy file cannot be used: what it said before stays in force").await;
    client.get_jwks(from("new", GetJwksRequest {})).await.expect("as before");
}

/// Runs `countersign policy` with these arguments; gives what it says, and its exit code.
fn policy(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(BINARY).arg("policy").args(args).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_explains_a_policy_and_names_all_that_is_wrong_with_one() {
    let web = "spiffe://e/ns/shop/web";
    let file = Scratch::of("\u{feff}\r\n[[callers]]\r\nid = \"spiffe://e/ns/shop/*\"\r\nrpcs = [\"Verify\"]\r\n");
    let (code, said, _) = policy(&["check", file.text()]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("it can be used: 1 identities and patterns of callers"), "{said}");
    let (code, said, _) = policy(&["check", file.text(), "--as", web, "--rpc", "Verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with(&format!("the entry of line 2 decides about {web}\n")), "{said}");
    assert!(said.ends_with(&format!("{web} may call AuthService/Verify\n")), "{said}");
    for (caller, rpc, expected) in [
        (web, "Login", "may not call AuthService/Login"),
        ("spiffe://e/ns/else", "Verify", "may call nothing: no entry means it"),
        ("anyone", "AuthService/Verify", "a caller without identity may call nothing"),
    ] {
        let (code, said, error) = policy(&["check", file.text(), "--as", caller, "--rpc", rpc]);
        assert_eq!((code, error.as_str()), (Some(1), "countersign: the caller may not do this\n"));
        assert!(said.contains(expected), "{said}");
    }
    for bad in [["--as", "web"].as_slice(), &["--as", web, "--rpc", "UserService/*"], &["--as", web, "--rpc", "Verfy"]]
    {
        let (code, _, error) = policy(&[&["check", file.text()], bad].concat());
        assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    }
    file.write("[[callers]]\nid = \"web\"\nrpcs = [\"Verfy\"]\n");
    let (code, said, error) = policy(&["check", file.text()]);
    assert_eq!((code, said.lines().count(), error.lines().count()), (Some(1), 2, 1), "{said}{error}");
    assert!(said.starts_with(&format!("{}:2: unknown identity `web`", file.text())), "{said}");
}

#[test]
fn the_command_line_explains_which_route_decides() {
    let file = Scratch::of(
        "[[routes]]\npath = \"/public\"\nmethods = [\"GET\"]\naccess = \"public\"\n\n\
         [[routes]]\nhost = \"*.example.com\"\naudience = \"shop\"\nroles_any = [\"a\", \"b\"]\n",
    );
    for (args, expected) in [
        (&["--path", "/public/x"][..], "the rule of line 1 decides\n  needed: nothing: no token is looked at\n"),
        (&["--path", "/public", "--method", "POST"], "no rule means the request: a valid token is needed\n"),
        (&["--path", "/x", "--host", "a.example.com"], "  audience: shop\n  one of the roles: a or b\n"),
    ] {
        let (code, said, error) = policy(&[&["check", file.text()], args].concat());
        assert!(code == Some(0) && said.contains(expected), "{args:?}: {said}{error}");
    }
    let (code, _, error) = policy(&["check", file.text(), "--path", "/public/../x"]);
    assert!(code == Some(1) && error.contains("ROUTE_AMBIGUOUS"), "{error}");
    let (code, said, _) = policy(&["check", file.text()]);
    assert!(code == Some(0) && said.ends_with("0 trusted proxies, 2 routes\n"), "{said}");
    // A proxy that names no request would have every rule passed over.
    let args = ["serve", "--plaintext", "--database-url", "postgres://x/x", "--forward-auth", "token"];
    let output = Command::new(BINARY).args(args).args(["--policy-file", file.text()]).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && said.contains("with --forward-auth=token"), "{said}");
}

#[test]
fn a_token_that_the_command_line_makes_goes_into_the_policy_file_as_a_hash() {
    let (code, made, _) = policy(&["token"]);
    let made = made.trim_end();
    assert_eq!((code, made.len(), made == policy(&["token"]).1.trim_end()), (Some(0), 43, false));
    for form in ["MADE", "MADE\n", "\u{feff}MADE\r\n"] {
        let file = Scratch::of(&form.replace("MADE", made));
        let (code, said, _) = policy(&["hash", "web", file.text()]);
        assert_eq!((code, said), (Some(0), token("web", &[made])), "{form:?}");
    }
    let entry = Scratch::of(&token("web", &[made]));
    let (code, summary, error) = policy(&["check", entry.text()]);
    assert_eq!(code, Some(0), "{error}");
    assert!(summary.contains(" 1 hashes of tokens"), "{summary}");
    let short = Scratch::of("short");
    for bad in [["hash", "a b", entry.text()], ["hash", "web", short.text()], ["hash", "web", "/nowhere"]] {
        assert_eq!(policy(&bad).0, Some(1), "{bad:?}");
    }
}
