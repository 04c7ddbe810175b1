//! The client library beside real servers: what a service that verifies in its own process accepts, and for how long.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign::grpc::v1::revoke_request::Target;
use countersign_client::{Countersign, Demand, Endpoints, Error, Event, Fallback, Session, Verifier, v1};
use countersign_token::{algorithm::Algorithm, clock::Clock};
use tokio::time::{Instant, timeout};

use crate::{
    relay::Relay,
    support::{Setup, TestServer, User, database},
};

const PATIENT: Duration = Duration::from_secs(20);
const BOUND: Duration = Duration::from_secs(3);

/// A server by the machine's clock, as the clients have it.
async fn server() -> TestServer {
    Setup::on(database().await, Clock::system()).start().await
}

fn url(server: &TestServer) -> String {
    format!("http://{}", server.grpc_addr)
}

fn endpoints(urls: &[String]) -> Endpoints {
    Endpoints::new(urls).expect("addresses")
}

async fn following(urls: &[String]) -> Verifier {
    let verifier = Verifier::builder(endpoints(urls)).max_staleness(BOUND).start();
    timeout(PATIENT, verifier.ready()).await.expect("in time").expect("ready");
    verifier
}

/// Verifies until the answer is this reason, or OK. Says how long that took.
async fn until(verifier: &Verifier, token: &str, expected: &str) -> Duration {
    let begun = Instant::now();
    let reached = async {
        loop {
            let answer = verifier.verify(token).await;
            if answer.as_ref().map_or_else(Error::reason, |_| "OK") == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENT, reached).await.expect("in time");
    begun.elapsed()
}

async fn end(alice: &User, session_id: &str) {
    let answer = alice.revoke(Target::SessionId(session_id.to_owned())).await.expect("revoked");
    assert!(answer.confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_ends_at_one_replica_is_refused_by_a_client_of_another() {
    let server = server().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let verifier = following(&[url(&other)]).await;
    let mut times = Vec::new();
    for _ in 0..50 {
        let tokens = alice.login().await;
        let caller = verifier.verify(&tokens.access_token).await.expect("it is good");
        assert_eq!((&caller.user_id, &caller.session_id), (&alice.id, &tokens.session_id));
        end(&alice, &tokens.session_id).await;
        times.push(until(&verifier, &tokens.access_token, "TOKEN_REVOKED").await);
    }
    times.sort();
    println!("refused {:?} after Revoke was answered, half of the times; {:?} at the most", times[25], times[49]);
    let (before, kept) = (alice.login().await, alice.login().await);
    alice.revoke(Target::UserId(alice.id.clone())).await.expect("revoked");
    for tokens in [&before, &kept] {
        until(&verifier, &tokens.access_token, "TOKEN_REVOKED").await;
    }
    verifier.verify(&alice.login().await.access_token).await.expect("a new login passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_cut_and_held_wires_keep_the_bound_and_an_outage_is_no_refusal() {
    let server = server().await;
    let alice = server.user("alice").await;
    let wire = Relay::to(server.grpc_addr).await;
    let verifier = following(&[wire.url()]).await;
    let tokens = alice.login().await;
    for (name, fail) in [("cut", Relay::cut as fn(&Relay)), ("held", Relay::hold)] {
        until(&verifier, &tokens.access_token, "OK").await;
        fail(&wire);
        let ended = alice.login().await;
        end(&alice, &ended.session_id).await;
        let begun = Instant::now();
        until(&verifier, &ended.access_token, "REVOCATIONS_STALE").await;
        assert!(begun.elapsed() <= BOUND + Duration::from_millis(500), "{name}: {:?}", begun.elapsed());
        wire.mend();
        until(&verifier, &ended.access_token, "TOKEN_REVOKED").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_with_another_replica_before_the_bound_has_passed() {
    let server = server().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let wire = Relay::to(server.grpc_addr).await;
    let lost = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&lost);
    let verifier = Verifier::builder(endpoints(&[wire.url(), url(&other)]))
        .max_staleness(Duration::from_secs(10))
        .on_event(move |event| {
            if let Event::Lost { .. } = event {
                counter.fetch_add(1, Ordering::SeqCst);
            }
        })
        .start();
    verifier.ready().await.expect("ready");
    let tokens = alice.login().await;
    let begun = Instant::now();
    wire.hold();
    // Whichever it follows: after so long it has noticed.
    while begun.elapsed() < Duration::from_secs(5) {
        verifier.verify(&tokens.access_token).await.expect("it goes on");
        tokio::task::yield_now().await;
    }
    let ended = alice.login().await;
    end(&alice, &ended.session_id).await;
    until(&verifier, &ended.access_token, "TOKEN_REVOKED").await;
    assert!(lost.load(Ordering::SeqCst) < 10, "no storm of attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_token_of_a_killed_key_dies_in_clients() {
    let server = server().await;
    let alice = server.user("alice").await;
    let verifier = following(&[url(&server)]).await;
    let tokens = alice.login().await;
    verifier.verify(&tokens.access_token).await.expect("it is good");
    let kid = server.auth.keys.ring().signing().expect("a key").kid().to_owned();
    server.auth.keys.kill(&kid).await.expect("killed");
    until(&verifier, &tokens.access_token, "TOKEN_SIGNATURE_INVALID").await;
    verifier.verify(&alice.login().await.access_token).await.expect("by the next key");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_keys_are_secret_the_service_is_asked() {
    let mut setup = Setup::on(database().await, Clock::system());
    setup.settings.keys.signing_algorithm = Algorithm::Hs256;
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let verifier = Verifier::builder(endpoints(&[url(&server)])).start();
    let error = timeout(PATIENT, verifier.ready()).await.expect("in time").expect_err("no keys");
    assert_eq!(error.reason(), "SIGNING_KEY_SECRET");
    let verifier =
        Verifier::builder(endpoints(&[url(&server)])).audience("nobody").fallback(Fallback::RemoteVerify).start();
    verifier.ready().await.expect("it asks");
    let tokens = alice.login().await;
    let error = verifier.verify(&tokens.access_token).await.expect_err("for others");
    assert_eq!(error.reason(), "TOKEN_AUDIENCE_MISMATCH");
    let anything = Verifier::builder(endpoints(&[url(&server)])).fallback(Fallback::RemoteVerify).start();
    let reader = Demand::new().role("reader");
    let caller = anything.verify_for(&tokens.access_token, &reader).await.expect("it is good");
    assert_eq!((caller.user_id.as_str(), caller.expires_at > caller.issued_at), (alice.id.as_str(), true));
    let error = anything.verify_for(&tokens.access_token, &Demand::new().role("admin")).await.expect_err("no admin");
    assert!(matches!(error, Error::Forbidden(_)) && error.reason() == "ROLE_MISSING");
    end(&alice, &tokens.session_id).await;
    assert_eq!(anything.verify(&tokens.access_token).await.expect_err("ended").reason(), "TOKEN_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_wrong_changes_nothing() {
    let server = server().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let clock = Clock::manual();
    clock.set_wall_ahead(Duration::from_secs(3600));
    let verifier = Verifier::builder(endpoints(&[url(&server)])).clock(clock).start();
    verifier.ready().await.expect("ready");
    verifier.verify(&tokens.access_token).await.expect("it has not expired");
}

/// The wall clock is set ahead by more than the bound, while a replica is followed: it is well again once the call is made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_while_a_replica_is_followed_is_no_lasting_outage() {
    let server = server().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let clock = Clock::manual();
    let verifier = Verifier::builder(endpoints(&[url(&server)])).clock(clock.clone()).start();
    verifier.ready().await.expect("ready");
    clock.set_wall_ahead(Duration::from_secs(3600));
    until(&verifier, &tokens.access_token, "OK").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_hear_of_a_logout() {
    let server = server().await;
    let alice = server.user("alice").await;
    let (gone, alive) = (alice.login().await, alice.login().await);
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(Verifier::builder(endpoints(&[url(&server)])).start());
    }
    for verifier in &clients {
        timeout(PATIENT, verifier.ready()).await.expect("in time").expect("ready");
    }
    let begun = Instant::now();
    end(&alice, &gone.session_id).await;
    for verifier in &clients {
        until(verifier, &gone.access_token, "TOKEN_REVOKED").await;
        verifier.verify(&alive.access_token).await.expect("alive");
    }
    println!("200 clients refuse after {:?}, with the call", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_session_is_exchanged_once_for_all_who_ask_and_a_lost_answer_is_asked_for_again() {
    let server = server().await;
    let alice = server.user("alice").await;
    let wire = Relay::to(server.grpc_addr).await;
    let client = Countersign::new(&endpoints(&[wire.url(), url(&server)]));
    let mut pair = alice.login().await;
    // A token of which nothing is left.
    pair.access_token.clear();
    let session = Session::of(&client, pair.clone());
    let asked = (0..50).map(|_| {
        let session = session.clone();
        tokio::spawn(async move { session.access_token().await.expect("a token") })
    });
    let mut tokens = HashSet::new();
    for task in asked.collect::<Vec<_>>() {
        tokens.insert(task.await.expect("ended"));
    }
    assert_eq!(tokens.len(), 1);
    assert_ne!(session.tokens().refresh_token, pair.refresh_token);
    // The replica that is asked first takes the request, and its answer never comes.
    wire.hold();
    let again = Session::of(&client, v1::TokenPair { access_token: String::new(), ..session.tokens() });
    let token = again.access_token().await.expect("from another replica");
    alice.verify(&token).await.expect("it is good");
    again.logout().await.expect("ended");
    assert_eq!(alice.verify(&token).await.expect_err("ended").code(), tonic::Code::Unauthenticated);
    let after = Session::of(&client, v1::TokenPair { access_token: String::new(), ..again.tokens() });
    let error = after.access_token().await.expect_err("ended");
    assert_eq!(error.reason(), "REFRESH_TOKEN_INVALID");
}
