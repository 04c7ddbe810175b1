//! Instructions of calls, with limits: counted by Valgrind, and so the same beside any neighbour. A limit is what was
//! counted when it was set, and 2% more; 20% where a hash table with random keys counts. Whoever makes something cheaper
//! lowers it.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a bench that panics has failed")]

use std::{
    hint::black_box,
    pin::pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use clap::Parser;
use countersign::{
    auth::Auth,
    authz::Authorizer,
    config::{Policies, PolicySettings, checked},
    crypto::{
        refresh_token::{Decoded, RefreshToken, RefreshTokenKey, RefreshTokenKeys},
        seal::MasterKeys,
        sign::sign_access_token,
        signing_key::{KeyMaterial, SigningKey},
    },
    domain::audit::Actor,
    edge::{Callers, Defaults},
    grpc::{
        self,
        v1::{self, VerifyRequest},
        verify_response::VerifyResponse,
    },
    server,
    store::{Store, StoreSettings},
};
use countersign_token::{
    algorithm::Algorithm,
    claims::{Claims, Principal},
    clock::Clock,
    error::Error,
    ids::{SessionId, UserId},
    index::Origin,
    key_set::{KeySet, KeyState},
    moment::unix,
    revocation::{Revocation, Subject},
    state::{Freshness, RevocationState},
    verified_tokens::VerifiedToken,
    verifier::{Requirements, Settings, Verifier},
};
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use mimalloc::MiMalloc;
use prost::Message as _;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tower::Service as _;

/// The server's own.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// So many sessions have ended, as after a busy hour.
const ENDED: usize = 100_000;
const BOUND: Duration = Duration::from_secs(30);
const VERIFY: &str = "/countersign.v1.AuthService/Verify";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The runtime in which sockets and pools want to be made; nothing waits in it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, instructions)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

struct Token {
    text: String,
    keys: KeySet,
}

fn token() -> Token {
    let material = KeyMaterial::generate(Algorithm::EdDsa, 2048).expect("a key");
    let key = SigningKey::parse(Algorithm::EdDsa, &material).expect("sound");
    let clock = Clock::system();
    let (now, id) = (unix(clock.now()), SessionId::new(clock.now()).to_string());
    let claims = Claims {
        iss: "countersign".to_owned(),
        sub: UserId::new(clock.now()).to_string(),
        aud: vec!["internal".to_owned()],
        exp: now + 900,
        nbf: None,
        iat: now,
        jti: id.clone(),
        client_id: "web-frontend".to_owned(),
        auth_time: now,
        sid: id,
        epoch: 3,
        roles: vec!["billing.read".to_owned(), "billing.write".to_owned()],
        scope: Some("billing.read billing.write".to_owned()),
        preferred_username: None,
    };
    let text = sign_access_token(&claims, &key).expect("signed").expose().to_owned();
    let keys = KeySet::from_iter([(material.kid, KeyState::Key(key.verifying_key().expect("sound")))]);
    Token { text, keys }
}

/// A state that knows of many sessions that have ended, as of now.
fn fill(state: &RevocationState) {
    let clock = Clock::system();
    let ended = (0..ENDED).map(|_| Revocation::new(Subject::Session(SessionId::new(clock.now())), clock.now()));
    state.apply(&ended.collect::<Vec<_>>(), Origin::Log);
    state.publish(clock.moment());
}

/// A verifier, and a token that it accepts.
fn verifier(remembered: usize) -> (Verifier<()>, String) {
    let Token { text, keys } = token();
    let state = Arc::new(RevocationState::new(BOUND, Clock::system()));
    fill(&state);
    let settings = Settings { issuer: "countersign".to_owned(), leeway: Duration::ZERO, remembered };
    let verifier = Verifier::new(settings, state);
    verifier.use_keys(keys);
    verifier.verify(&text, Requirements::default()).expect("accepted");
    (verifier, text)
}

type Verified = Result<(Arc<VerifiedToken<()>>, Freshness), Error>;

// A warm one looks into three tables with random keys, where each probe more counts 15: 1,612 to 1,657 were seen.
#[library_benchmark]
#[bench::cold(args = (0), setup = verifier, config = at_most(529_500))]
#[bench::warm(args = (1000), setup = verifier, config = at_most(1_690))]
fn verify((verifier, token): (Verifier<()>, String)) -> (Verified, Verifier<()>, String) {
    let verified = black_box(verifier.verify(black_box(&token), Requirements::default()));
    (verified, verifier, token)
}

fn looked_up() -> (RevocationState, Freshness, Principal) {
    let state = RevocationState::new(BOUND, Clock::system());
    fill(&state);
    let (verifier, token) = verifier(1);
    let (verified, _) = verifier.verify(&token, Requirements::default()).expect("accepted");
    let freshness = state.fresh(None).expect("fresh");
    (state, freshness, verified.principal.clone())
}

#[library_benchmark]
#[bench::of_many(setup = looked_up, config = at_most(500))]
fn look_up(
    (state, freshness, principal): (RevocationState, Freshness, Principal),
) -> (RevocationState, Freshness, Principal) {
    black_box(state.look_up(freshness).check(black_box(&principal))).expect("live");
    (state, freshness, principal)
}

type Answered = (Arc<countersign::auth::verified::VerifiedToken>, Freshness);

fn answered() -> Answered {
    let Token { text, keys } = token();
    let state = Arc::new(RevocationState::new(BOUND, Clock::system()));
    state.publish(Clock::system().moment());
    let settings = Settings { issuer: "countersign".to_owned(), leeway: Duration::ZERO, remembered: 1 };
    let verifier = countersign::auth::verified::Verifier::new(settings, state);
    verifier.use_keys(keys);
    verifier.verify(&text, Requirements::default()).expect("accepted")
}

fn answered_before() -> Answered {
    let (token, freshness) = answered();
    drop(VerifyResponse::new(&token, freshness.as_of()));
    (token, freshness)
}

#[library_benchmark]
#[bench::first(setup = answered, config = at_most(2_780))]
#[bench::again(setup = answered_before, config = at_most(563))]
fn encode((token, freshness): Answered) -> (Vec<u8>, Answered) {
    let answer = black_box(VerifyResponse::new(black_box(&token), freshness.as_of()).encode_to_vec());
    (answer, (token, freshness))
}

fn refresh_token() -> (RefreshTokenKeys, String) {
    let mut keys = RefreshTokenKeys::default();
    keys.insert(1, RefreshTokenKey::parse(&[7; 32]).expect("sound"));
    let session_id = SessionId::new(Clock::system().now());
    let text = keys.encode(1, RefreshToken { session_id, generation: 7 }).expect("made");
    (keys, text.expose().to_owned())
}

#[library_benchmark]
#[bench::valid(setup = refresh_token, config = at_most(7_090))]
fn read_refresh_token((keys, text): (RefreshTokenKeys, String)) -> (Decoded, RefreshTokenKeys, String) {
    let read = black_box(keys.decode(black_box(&text))).expect("usable");
    (read, keys, text)
}

/// The services without a port, and a request for Verify.
struct Handler {
    services: grpc::Services,
    request: http::Request<Body>,
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    settings: PolicySettings,
}

/// The service, and a token that it accepts.
fn services() -> (grpc::Services, String) {
    let _guard = RUNTIME.enter();
    let settings = Command::parse_from(["bench"]).settings;
    let url = "postgres://nobody@127.0.0.1:1/none".to_owned();
    let store = Store::new(&StoreSettings { url, connections: 1, deadline: BOUND }).expect("settings");
    let policies = checked(|violations| settings.check(violations)).expect("settings");
    let Policies { keys, tokens, authz, .. } = policies.clone();
    let accounts = server::accounts(store, policies, Actor::Administrator, Clock::system()).expect("threads");
    let master = MasterKeys::parse("master-key-file", &MasterKeys::generate().expect("random")).expect("a key");
    let auth = Arc::new(Auth::new(accounts, master, keys, tokens));
    let Token { text, keys } = token();
    auth.verifier.use_keys(keys);
    fill(auth.revocations().state());
    (grpc::services(Authorizer::new(auth, authz, None), Callers::new(Defaults::Open, None)), text)
}

fn handler() -> Handler {
    let (mut services, access_token) = services();
    let message = VerifyRequest { access_token, ..VerifyRequest::default() }.encode_to_vec();
    let answer = serve(&mut services, request(VERIFY, &message));
    assert!(v1::VerifyResponse::decode(&answer[5..]).expect("an answer").principal.is_some(), "accepted");
    Handler { services, request: request(VERIFY, &message) }
}

/// The same for Check, with what Envoy sends of a browser's request.
fn checker() -> Handler {
    let (mut services, token) = services();
    let authorization = format!("Bearer {token}");
    let headers = [
        (":authority", "shop.example.com"),
        (":method", "GET"),
        (":path", "/orders/4711?page=2"),
        (":scheme", "https"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br"),
        ("accept-language", "en-US,en;q=0.9"),
        ("authorization", authorization.as_str()),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        ),
        ("x-envoy-internal", "true"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "8f8e4c1c-6f0a-4b4e-9c39-6a7f2c7c1b50"),
    ];
    let entries = headers.iter().flat_map(|(name, value)| {
        let entry = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
        field(3, &entry)
    });
    let http =
        [field(2, b"GET"), entries.collect(), field(4, b"/orders/4711?page=2"), field(5, b"shop.example.com")].concat();
    let message = field(1, &field(4, &field(2, &http)));
    let answer = serve(&mut services, request(CHECK, &message));
    assert!(answer.windows(14).any(|window| window == b"x-auth-user-id"), "let in");
    Handler { services, request: request(CHECK, &message) }
}

/// A field of bytes, as protobuf has it.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut field).expect("room");
    field.extend_from_slice(content);
    field
}

fn request(path: &str, message: &[u8]) -> http::Request<Body> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let framed = [&[0][..], &length, message].concat();
    let request = http::Request::post(format!("http://localhost{path}"));
    let body = Body::new(http_body_util::Full::new(framed.into()));
    request.header("content-type", "application/grpc").header("te", "trailers").body(body).expect("a request")
}

/// The framed answer, of a call that waits for nothing.
fn serve(services: &mut grpc::Services, request: http::Request<Body>) -> Vec<u8> {
    let response = at_once(services.call(request)).expect("infallible");
    let body = at_once(http_body_util::BodyExt::collect(response.into_body())).expect("a body");
    body.to_bytes().to_vec()
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[library_benchmark]
// With the caller's identity and its grants, a bound on calls, a guard against panics, and what the caller names the call.
#[bench::verify_warm(setup = handler, config = at_most(17_600))]
// The answer is encoded once for each token; the question is read where it lies.
#[bench::check_warm(setup = checker, config = at_most(25_900))]
fn answer(handler: Handler) -> (Vec<u8>, grpc::Services) {
    let Handler { mut services, request } = handler;
    let answer = black_box(serve(&mut services, black_box(request)));
    (answer, services)
}

library_benchmark_group!(name = tokens, benchmarks = [verify, look_up, encode, read_refresh_token, answer]);
main!(library_benchmark_groups = tokens);
