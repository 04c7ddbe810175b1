//! Keys that rotate by themselves, and what happens when somebody breaks them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use countersign::{
    domain::key::{Purpose, Stage},
    grpc::v1::{GetJwksRequest, RefreshRequest, VerifyBatchRequest, revoke_request::Target},
    store::keys::{self, Date, StoredKey},
};
use countersign_client::{Endpoints, Verifier};
use countersign_token::{algorithm::Algorithm, clock::Clock};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::watch;
use tonic::Code;

use crate::support::{MASTER_KEY, PASSWORD, Proxy, Setup, TestServer, User, database, refusal};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than a key is published before it may sign.
const LEAD: Duration = Duration::from_secs(71 * 60);
const OTHER_MASTER_KEY: &str = "//////////////////////////////////////////8=";

pub(crate) fn kid(access_token: &str) -> String {
    decode_header(access_token).expect("a header").kid.expect("kid")
}

async fn run(server: &TestServer, statement: &str) {
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    connection.execute(AssertSqlSafe(statement)).await.expect(statement);
}

pub(crate) async fn stored(server: &TestServer) -> Vec<StoredKey> {
    countersign::auth::keys::stored(&server.auth.base.store).await.expect("read").keys
}

/// The name of the key of access tokens in a stage.
async fn in_stage(server: &TestServer, stage: Stage) -> Option<String> {
    let found = |s: &StoredKey| s.key.purpose == Purpose::AccessToken && s.key.stage == stage;
    stored(server).await.into_iter().find(found).map(|s| s.key.kid)
}

pub(crate) async fn jwks(server: &TestServer) -> JwkSet {
    let answer = server.auth_client().get_jwks(GetJwksRequest {}).await.expect("answered");
    serde_json::from_str(&answer.into_inner().jwks).expect("a key set")
}

/// What a verifier does that knows nothing of us but a key set.
pub(crate) fn is_signed(access_token: &str, key_set: &JwkSet) -> bool {
    let Some(jwk) = key_set.find(&kid(access_token)) else {
        return false;
    };
    let algorithm = jwk.common.key_algorithm.expect("alg").to_string().parse().expect("known");
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["internal"]);
    // The machine's clock is not ours.
    validation.validate_exp = false;
    decode::<serde_json::Value>(access_token, &DecodingKey::from_jwk(jwk).expect("a key"), &validation).is_ok()
}

/// A second replica that may have settings of its own.
async fn beside(server: &TestServer, change: impl FnOnce(&mut Setup)) -> TestServer {
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    change(&mut setup);
    setup.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_end_with_the_same_keys() {
    let (url, clock) = (database().await, Clock::manual());
    let starts = [(); 4].map(|()| tokio::spawn(Setup::on(url.clone(), clock.clone()).start()));
    let mut key_sets = Vec::new();
    for start in starts {
        let server = start.await.expect("joined");
        server.catch_up().await;
        key_sets.push(jwks(&server).await);
    }
    assert_eq!(key_sets[0].keys.len(), 2, "the one that signs and the next");
    assert!(key_sets.iter().all(|set| *set == key_sets[0]));
}

/// What the users of this story do: each finishes a round of everything with both replicas, again and again.
async fn use_everything(users: [User; 2], stop: Arc<AtomicBool>, rounds: watch::Sender<(u32, String)>) {
    let [here, there] = users;
    while !stop.load(Ordering::SeqCst) {
        let first = here.login().await;
        there.verify(&first.access_token).await.expect("valid there");
        let second = there.rotate(&first.refresh_token).await;
        here.verify(&second.access_token).await.expect("valid here");
        // The answer was lost, perhaps.
        let again = here.rotate(&first.refresh_token).await;
        there.verify(&again.access_token).await.expect("valid there");
        rounds.send_modify(|(count, newest)| (*count, *newest) = (*count + 1, again.access_token));
    }
}

/// Three rotations of both kinds of keys under constant use of two replicas, a verifier that keeps each key set for 20 minutes, as
/// Istio does, and one of the client library.
#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_load_and_nobody_notices() {
    let mut setup = Setup::new().await;
    setup.settings.revocation.max_staleness = Duration::from_secs(300);
    setup.settings.keys.key_publish_lead = 20 * MINUTE;
    setup.settings.keys.key_lifetime = 20 * MINUTE;
    let settings = setup.settings.clone();
    let one = setup.start().await;
    let other = beside(&one, |setup| setup.settings = settings).await;
    let endpoints = Endpoints::new([format!("http://{}", other.grpc_addr)]).expect("an address");
    let client = Verifier::builder(endpoints).max_staleness(60 * MINUTE).clock(one.clock.clone()).start();
    client.ready().await.expect("ready");
    let stop = Arc::new(AtomicBool::new(false));
    let mut users = Vec::new();
    for (name, replicas) in [("alice", [&one, &other]), ("bob", [&other, &one])] {
        let user = one.user(name).await;
        let (rounds, watched) = watch::channel((0, String::new()));
        let work = use_everything(replicas.map(|r| user.at(r)), Arc::clone(&stop), rounds);
        users.push((tokio::spawn(work), watched));
    }
    let (mut key_sets, mut signed_by) = (vec![jwks(&one).await], Vec::new());
    let step = 100;
    // Each rotation waits for 30 minutes: the lead, the largest bound, and caches.
    while signed_by.len() < 4 {
        one.pass(Duration::from_secs(step)).await;
        other.catch_up().await;
        for (_, rounds) in &mut users {
            let seen = rounds.borrow_and_update().0;
            // Two more: the last of them began after the step.
            let (_, token) = rounds.wait_for(|(count, _)| *count >= seen + 2).await.expect("nothing failed").clone();
            let twenty_minutes_ago = key_sets.len().saturating_sub(1200 / step as usize);
            assert!(is_signed(&token, &key_sets[twenty_minutes_ago]), "a key set of 20 minutes ago is enough");
            client.verify(&token).await.expect("good to the client too");
            if !signed_by.contains(&kid(&token)) {
                signed_by.push(kid(&token));
            }
        }
        key_sets.push(jwks(&other).await);
        assert!(key_sets.len() < 100, "it rotates");
    }
    stop.store(true, Ordering::SeqCst);
    for (work, _) in users {
        work.await.expect("not one call failed");
    }
    let macs = stored(&one).await.into_iter().filter(|s| s.key.purpose == Purpose::RefreshToken).count();
    assert!(macs >= 4, "keys of refresh tokens rotate too, and stay");
}

#[tokio::test]
async fn a_key_is_deleted_when_its_last_token_is_over_and_not_before() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    server.pass(LEAD).await;
    let fresh = alice.rotate(&tokens.refresh_token).await;
    server.auth.keys.rotate(Purpose::AccessToken).await.expect("rotated");
    server.catch_up().await;
    let (old, new) = (kid(&fresh.access_token), kid(&alice.login().await.access_token));
    assert_ne!(old, new);
    assert_eq!(in_stage(&server, Stage::Retired).await, Some(old.clone()));
    alice.verify(&fresh.access_token).await.expect("tokens of the retired key are good");
    assert!(jwks(&server).await.find(&old).is_some(), "and it is published");
    server.pass(180 * MINUTE).await;
    assert_eq!(in_stage(&server, Stage::Retired).await, Some(old));
    assert_eq!(refusal(alice.verify(&fresh.access_token).await).1, "TOKEN_EXPIRED");
    server.pass(6 * MINUTE).await;
    assert_eq!(in_stage(&server, Stage::Retired).await, None);
    let restarted = server.replica().await;
    for replica in [&server, &restarted] {
        assert_eq!(refusal(alice.at(replica).verify(&fresh.access_token).await).1, "TOKEN_SIGNATURE_INVALID");
        assert!(jwks(replica).await.find(&kid(&fresh.access_token)).is_none());
    }
    // Who slept all the time and sends the old pair is not logged out for it.
    let request =
        RefreshRequest { refresh_token: fresh.refresh_token, access_token: fresh.access_token, ..Default::default() };
    restarted.auth_client().refresh(request).await.expect("refreshed");
}

#[tokio::test]
async fn p1_tokens_of_a_killed_key_are_dead_on_every_replica_and_a_fresh_key_signs() {
    let one = TestServer::start().await;
    let other = one.replica().await;
    let alice = one.user("alice").await;
    one.pass(LEAD).await;
    other.catch_up().await;
    let (tokens, key_set) = (alice.login().await, jwks(&other).await);
    let killed = kid(&tokens.access_token);
    one.auth.keys.kill(&killed).await.expect("killed");
    for replica in [&one, &other] {
        replica.catch_up().await;
        let alice = alice.at(replica);
        assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
        assert!(jwks(replica).await.find(&killed).is_none(), "published no more");
        let fresh = alice.login().await;
        assert_ne!(kid(&fresh.access_token), killed);
        assert!(is_signed(&fresh.access_token, &key_set), "it was published before");
        alice.verify(&fresh.access_token).await.expect("valid");
    }
    let batch = VerifyBatchRequest { access_tokens: vec![tokens.access_token.clone()], ..Default::default() };
    let answer = format!("{:?}", other.auth_client().verify_batch(batch).await.expect("answered").into_inner());
    assert!(answer.contains("TokenRevoked"), "{answer}");
    // The sessions live on, whatever access token comes along.
    let request =
        RefreshRequest { refresh_token: tokens.refresh_token, access_token: tokens.access_token, ..Default::default() };
    other.auth_client().refresh(request).await.expect("refreshed");
    assert!(one.auth.keys.kill(&killed).await.expect_err("dead already").to_string().contains("no living key"));
    assert!(one.auth.keys.kill("nonsense").await.is_err());
}

#[tokio::test]
async fn p1_a_replica_that_cannot_hear_of_a_kill_accepts_nothing_after_the_bound() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let proxy = Proxy::before(&server.database_url);
    let cut_off = beside(&server, |setup| setup.database_url = proxy.url()).await;
    proxy.cut();
    let by = server.auth.keys.kill(&kid(&tokens.access_token)).await.expect("killed").everywhere_by;
    alice.at(&cut_off).verify(&tokens.access_token).await.expect("it has not heard, within the bound");
    let bound = by.expect("a bound") - server.clock.now();
    server.clock.advance(bound.try_into().expect("ahead"));
    server.clock.advance(Duration::from_nanos(1));
    assert_eq!(refusal(alice.at(&cut_off).verify(&tokens.access_token).await).1, "REVOCATIONS_STALE");
    proxy.mend();
    cut_off.catch_up().await;
    assert_eq!(refusal(alice.at(&cut_off).verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
}

/// It has slept for longer than anything is kept, and must not take the dead key for one that the database has lost.
#[tokio::test]
async fn p1_a_replica_that_slept_through_a_kill_does_not_revive_the_key() {
    let server = TestServer::start().await;
    let proxy = Proxy::before(&server.database_url);
    let asleep = beside(&server, |setup| setup.database_url = proxy.url()).await;
    let alice = server.user("alice").await;
    let killed = kid(&alice.login().await.access_token);
    proxy.cut();
    server.auth.keys.kill(&killed).await.expect("killed");
    for _ in 0..3 {
        server.pass(100 * MINUTE).await;
    }
    proxy.mend();
    asleep.catch_up().await;
    assert!(jwks(&asleep).await.find(&killed).is_none());
    let stored = stored(&server).await;
    assert!(stored.iter().any(|s| s.key.kid == killed && s.key.stage == Stage::Killed), "a tombstone stays");
}

#[tokio::test]
async fn p1_a_key_that_the_database_has_lost_can_be_killed() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let lost = kid(&tokens.access_token);
    run(&server, "DELETE FROM keys WHERE purpose = 'access_token'").await;
    server.pass(MINUTE).await;
    alice.verify(&tokens.access_token).await.expect("it is good as long as nobody kills it");
    server.auth.keys.kill(&lost).await.expect("killed");
    server.catch_up().await;
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
}

/// Whoever has the wrong master key must not put a key into force that no server can open.
#[tokio::test]
async fn a_kill_with_another_master_key_is_refused_and_changes_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.master_key = OTHER_MASTER_KEY.to_owned();
    let stranger = setup.without_start();
    let refused = stranger.keys.kill(&kid(&tokens.access_token)).await.expect_err("refused").to_string();
    assert!(refused.contains("opens none of the stored keys"), "{refused}");
    server.pass(MINUTE).await;
    alice.verify(&tokens.access_token).await.expect("nothing has changed");
    alice.login().await;
}

/// The clock stands still while nobody watches. What is made then is new, however long that was.
#[tokio::test]
async fn v7_a_key_that_is_made_after_a_standstill_is_not_as_old_as_the_standstill() {
    let server = TestServer::start().await;
    server.auth.keys.look_after().await.expect("the clock was seen");
    // Nobody looks for 70 minutes, and then another replica makes a new next key, before this one looks again.
    server.clock.advance(LEAD);
    let other = beside(&server, |setup| setup.settings.keys.signing_algorithm = Algorithm::Es256).await;
    assert!(other.auth.keys.rotate(Purpose::AccessToken).await.is_err());
    server.catch_up().await;
    server.auth.keys.look_after().await.expect("looked after");
    assert!(server.auth.keys.rotate(Purpose::AccessToken).await.is_err(), "it was made a moment ago");
}

/// Another replica signs with a key that was made in an emergency; this one has not heard of it yet.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_refresh_token_of_a_key_that_is_not_known_yet_is_waited_for() {
    let one = TestServer::start().await;
    let other = one.replica().await;
    let alice = one.user("alice").await;
    for number in ["1", "2"] {
        one.auth.keys.kill(number).await.expect("killed");
    }
    one.catch_up().await;
    let tokens = alice.login().await;
    let rotated = alice.at(&other).rotate(&tokens.refresh_token).await;
    alice.at(&other).revoke(Target::RefreshToken(rotated.refresh_token.clone())).await.expect("known");
    assert_eq!(refusal(alice.refresh(&rotated.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
}

#[tokio::test]
async fn p1_a_key_that_takes_over_from_a_killed_one_can_be_killed_at_once() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut dead = Vec::new();
    for _ in 0..3 {
        let token = alice.login().await.access_token;
        server.auth.keys.kill(&kid(&token)).await.expect("killed");
        server.catch_up().await;
        dead.push(token);
    }
    for token in &dead {
        assert_eq!(refusal(alice.verify(token).await).1, "TOKEN_REVOKED");
    }
    alice.verify(&alice.login().await.access_token).await.expect("valid");
}

#[tokio::test]
async fn refresh_tokens_of_older_keys_are_good_and_those_of_a_killed_key_are_not() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (old, other) = (alice.login().await, alice.login().await);
    server.pass(LEAD).await;
    assert_eq!(server.auth.keys.rotate(Purpose::RefreshToken).await.expect("rotated"), "2");
    server.catch_up().await;
    let new = alice.rotate(&old.refresh_token).await;
    alice.revoke(Target::RefreshToken(old.refresh_token)).await.expect("known");
    assert_eq!(refusal(alice.refresh(&new.refresh_token).await).1, "REFRESH_TOKEN_INVALID", "its session has ended");
    let kept = alice.login().await;
    server.auth.keys.kill("1").await.expect("killed");
    server.catch_up().await;
    assert_eq!(refusal(alice.refresh(&other.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
    alice.rotate(&kept.refresh_token).await;
}

#[tokio::test]
async fn a_key_that_was_not_published_for_the_lead_does_not_sign() {
    let server = TestServer::start().await;
    let refused = server.auth.keys.rotate(Purpose::AccessToken).await.expect_err("too early").to_string();
    assert!(refused.contains("may not have the next key yet, for 1h 10m") && refused.lines().count() == 1, "{refused}");
    server.pass(LEAD).await;
    let next = in_stage(&server, Stage::Next).await.expect("there is one");
    assert_eq!(server.auth.keys.rotate(Purpose::AccessToken).await.expect("rotated"), next);
    server.pass(MINUTE).await;
    assert!(server.auth.keys.rotate(Purpose::AccessToken).await.is_err(), "the one after it is new");
}

#[tokio::test]
async fn v7_of_two_replicas_that_watched_the_same_time_one_counts_it() {
    let server = TestServer::start().await;
    let mut conn = server.auth.base.store.acquire().await.expect("a connection");
    let seen = keys::all(&mut conn).await.expect("read").witnessed_ms;
    assert!(keys::witness(&mut conn, seen, 60_000, Date::Today).await.expect("tried"), "the first");
    assert!(!keys::witness(&mut conn, seen, 60_000, Date::Today).await.expect("tried"), "and not the second");
    assert_eq!(keys::all(&mut conn).await.expect("read").witnessed_ms, seen + 60_000);
}

/// The wall clock and the monotonic clock of one replica are an hour ahead: it makes nothing happen early.
#[tokio::test]
async fn v7_replicas_whose_clocks_are_an_hour_apart_rotate_no_sooner() {
    let slow = TestServer::start().await;
    let clock = Clock::manual();
    clock.set_wall_ahead(60 * MINUTE);
    let fast = Setup::on(slow.database_url.clone(), clock).start().await;
    assert!(fast.auth.revocations().clock_distance() > 59 * MINUTE, "an operator is told");
    let mut minutes = 0;
    while fast.auth.keys.rotate(Purpose::AccessToken).await.is_err() {
        minutes += 2;
        for replica in [&slow, &fast] {
            replica.advance(2 * MINUTE).await;
        }
        for replica in [&slow, &fast] {
            replica.auth.keys.look_after().await.expect("looked after");
        }
        assert!(minutes < 300, "it rotates");
    }
    assert!(minutes >= 70, "{minutes}: no minute was counted twice");
}

#[tokio::test]
async fn each_algorithm_signs_after_the_setting_and_older_tokens_stay_good() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut tokens = vec![alice.login().await.access_token];
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256] {
        let changed = beside(&server, |setup| setup.settings.keys.signing_algorithm = algorithm).await;
        changed.pass(LEAD).await;
        changed.auth.keys.rotate(Purpose::AccessToken).await.expect("rotated");
        changed.catch_up().await;
        server.catch_up().await;
        let alice = alice.at(&server);
        let token = alice.login().await.access_token;
        assert_eq!(format!("{:?}", decode_header(&token).expect("header").alg), algorithm.as_str());
        alice.at(&changed).verify(&token).await.expect("valid");
        let published = algorithm != Algorithm::Hs256;
        assert_eq!(is_signed(&token, &jwks(&server).await), published, "{algorithm:?}");
        assert_eq!(jwks(&changed).await.find(&kid(&token)).is_some(), published, "a secret is never published");
        tokens.push(token);
    }
    let newest = tokens.pop().expect("three");
    alice.verify(&newest).await.expect("valid");
    for token in tokens {
        // Past their lifetime by now, but known: not called forged.
        assert_eq!(refusal(alice.verify(&token).await).1, "TOKEN_EXPIRED");
    }
}

#[tokio::test]
async fn a_key_that_does_not_open_stops_the_start_with_one_line() {
    let server = TestServer::start().await;
    let start = async |master_key: &str| {
        let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
        setup.master_key = master_key.to_owned();
        let error = setup.try_start().await.map(drop).expect_err("refused").to_string();
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    assert!(start(OTHER_MASTER_KEY).await.contains("does not open with this master key"));
    for (broken, says) in [
        ("algorithm = 'none'", "unknown algorithm \"none\""),
        ("algorithm = 'RS256'", "does not open"),
        ("algorithm = 'EdDSA', sealed_key = '\\x01'", "does not open"),
    ] {
        run(&server, &format!("UPDATE keys SET {broken} WHERE purpose = 'access_token'")).await;
        assert!(start(MASTER_KEY).await.contains(says), "{says}");
    }
    let counted = stored(&server).await.len();
    assert_eq!(counted, 4, "a server that does not start has made no keys");
}

#[tokio::test]
async fn sealed_keys_are_bound_to_their_rows() {
    let server = TestServer::start().await;
    run(
        &server,
        "UPDATE keys k SET sealed_key = o.sealed_key FROM keys o WHERE o.purpose = k.purpose AND o.number <> k.number",
    )
    .await;
    let setup = Setup::on(server.database_url.clone(), server.clock.clone());
    let error = setup.try_start().await.map(drop).expect_err("refused").to_string();
    assert!(error.contains("does not open"), "{error}");
}

/// Something happens to rows while servers run: each goes on with what it can use, and accepts nothing that it cannot.
#[tokio::test]
async fn p4_a_key_that_cannot_be_used_makes_its_tokens_undecided_and_no_others() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    server.pass(LEAD).await;
    let of_old = alice.login().await;
    server.auth.keys.rotate(Purpose::AccessToken).await.expect("rotated");
    server.catch_up().await;
    let of_new = alice.login().await;
    run(&server, "UPDATE keys SET algorithm = 'none' WHERE purpose = 'access_token' AND stage = 'active'").await;
    let restarted = Setup::on(server.database_url.clone(), server.clock.clone()).try_start().await;
    assert!(restarted.map(drop).expect_err("refused").to_string().contains("unknown algorithm"));
    // Any change of keys makes the running server read them again.
    server.pass(LEAD).await;
    server.auth.keys.rotate(Purpose::RefreshToken).await.expect("rotated");
    server.catch_up().await;
    let internal = (Code::Internal, "INTERNAL".to_owned());
    assert_eq!(refusal(alice.verify(&of_new.access_token).await), internal);
    assert_eq!(refusal(alice.login_with(PASSWORD).await), internal);
    assert_eq!(refusal(alice.verify(&of_old.access_token).await).1, "TOKEN_EXPIRED", "its key is known");
    let batch = VerifyBatchRequest { access_tokens: vec![of_new.access_token.clone()], ..Default::default() };
    assert_eq!(refusal(server.auth_client().verify_batch(batch).await), internal);
    // The way out: the broken key is killed, and the next one signs.
    server.auth.keys.kill(&kid(&of_new.access_token)).await.expect("killed");
    server.catch_up().await;
    let repaired = alice.login().await;
    alice.verify(&repaired.access_token).await.expect("valid");
}

#[tokio::test]
async fn a_next_key_that_is_broken_is_not_put_into_force_and_can_be_replaced() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    run(&server, "UPDATE keys SET sealed_key = '\\x01' WHERE purpose = 'access_token' AND stage = 'next'").await;
    let restarted = beside(&server, |setup| setup.settings.keys.key_lifetime = 61 * MINUTE).await;
    restarted.auth.keys.look_after().await.expect("seen");
    restarted.advance(LEAD).await;
    let broken = restarted.auth.keys.look_after().await.expect_err("a rotation is due").to_string();
    assert!(broken.contains("does not open"), "{broken}");
    let again = beside(&server, |setup| setup.settings.keys.key_lifetime = 61 * MINUTE).await;
    let signed_by = kid(&alice.at(&again).login().await.access_token);
    assert_eq!(in_stage(&server, Stage::Active).await, Some(signed_by), "it goes on with the key that works");
    let broken = in_stage(&server, Stage::Next).await.expect("there");
    server.auth.keys.kill(&broken).await.expect("killed");
    server.pass(MINUTE).await;
    assert_ne!(in_stage(&server, Stage::Next).await.expect("another"), broken);
    server.pass(LEAD).await;
    server.auth.keys.rotate(Purpose::AccessToken).await.expect("rotated");
}

#[tokio::test]
async fn two_active_keys_are_refused_by_the_database_and_otherwise_the_newest_signs() {
    let server = TestServer::start().await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let both = "UPDATE keys SET stage = 'active' WHERE purpose = 'access_token'";
    assert!(connection.execute(both).await.expect_err("refused").to_string().contains("keys_one_active"));
    connection.execute("DROP INDEX keys_one_active").await.expect("dropped");
    connection.execute(both).await.expect("both");
    let alice = server.user("alice").await;
    let restarted = server.replica().await;
    let newest =
        stored(&server).await.into_iter().rfind(|s| s.key.purpose == Purpose::AccessToken && s.key.number == 2);
    let token = alice.at(&restarted).login().await.access_token;
    assert_eq!(kid(&token), newest.expect("there").key.kid);
    server.catch_up().await;
    alice.verify(&token).await.expect("valid on the other");
}

#[tokio::test]
async fn a_restore_from_an_old_backup_ends_nothing_that_a_running_server_can_verify() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    server.pass(LEAD).await;
    run(&server, "CREATE TABLE backup AS SELECT * FROM keys").await;
    for _ in 0..2 {
        server.auth.keys.rotate(Purpose::AccessToken).await.expect("rotated");
        server.auth.keys.rotate(Purpose::RefreshToken).await.expect("rotated");
        server.pass(MINUTE).await;
        server.pass(LEAD).await;
    }
    let of_lost = alice.login().await;
    run(&server, "DELETE FROM keys; INSERT INTO keys SELECT * FROM backup").await;
    run(&server, "DELETE FROM revocations; UPDATE revocation_head SET seq = 0").await;
    server.catch_up().await;
    alice.verify(&of_lost.access_token).await.expect("the key is lost, and what it signed is good");
    let of_restored = alice.login().await;
    assert_ne!(kid(&of_restored.access_token), kid(&of_lost.access_token));
    alice.verify(&of_restored.access_token).await.expect("valid");
    server.pass(MINUTE).await;
    alice.verify(&of_lost.access_token).await.expect("still good");
    // Hours later, whoever slept goes on with the refresh token of a lost key.
    server.pass(240 * MINUTE).await;
    assert!(jwks(&server).await.find(&kid(&of_lost.access_token)).is_none(), "it could not verify anything any more");
    alice.rotate(&of_lost.refresh_token).await;
}

#[tokio::test]
async fn p1_a_kill_that_the_database_has_lost_is_not_forgotten() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let dead = alice.login().await;
    run(&server, "CREATE TABLE backup AS SELECT * FROM keys").await;
    server.auth.keys.kill(&kid(&dead.access_token)).await.expect("killed");
    server.catch_up().await;
    run(&server, "DELETE FROM keys; INSERT INTO keys SELECT * FROM backup").await;
    run(&server, "DELETE FROM revocations; UPDATE revocation_head SET seq = 0").await;
    server.catch_up().await;
    assert_eq!(refusal(alice.verify(&dead.access_token).await).1, "TOKEN_REVOKED");
    // Nobody who runs signs with it, and it is killed again for those who start later.
    server.pass(MINUTE).await;
    let restarted = server.replica().await;
    for replica in [&server, &restarted] {
        let alice = alice.at(replica);
        assert_eq!(refusal(alice.verify(&dead.access_token).await).1, "TOKEN_REVOKED");
        let fresh = alice.login().await;
        alice.verify(&fresh.access_token).await.expect("valid");
    }
}

#[tokio::test]
async fn master_keys_are_changed_one_after_the_other_without_a_stop() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let both = format!("{OTHER_MASTER_KEY}\n{MASTER_KEY}\n");
    let moving = beside(&server, |setup| setup.master_key = both).await;
    let resealed = moving.auth.keys.reseal().await.expect("resealed");
    assert_eq!((resealed.count, resealed.closed.len()), (5, 0));
    assert_eq!(moving.auth.keys.reseal().await.expect("nothing to do").count, 0);
    let moved = beside(&server, |setup| setup.master_key = OTHER_MASTER_KEY.to_owned()).await;
    for replica in [&server, &moving, &moved] {
        alice.at(replica).verify(&tokens.access_token).await.expect("the same keys");
    }
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.master_key = MASTER_KEY.to_owned();
    assert!(setup.try_start().await.is_err(), "the old one opens nothing any more");
}

/// P4: whoever has not heard of the keys for long says so, instead of calling a token of a new key forged.
#[tokio::test]
async fn p4_a_replica_that_may_not_know_the_keys_neither_signs_nor_refuses() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let unknown = TestServer::start().await.user("alice").await.login().await;
    // No beat has come since.
    server.clock.advance(Duration::from_secs(31));
    let stale = (Code::Unavailable, "REVOCATIONS_STALE".to_owned());
    let answers = [
        refusal(alice.login_with(PASSWORD).await),
        refusal(alice.refresh(&tokens.refresh_token).await),
        refusal(alice.refresh(&unknown.refresh_token).await),
        refusal(alice.revoke(Target::RefreshToken(unknown.refresh_token)).await),
    ];
    assert!(answers.iter().all(|answer| *answer == stale), "{answers:?}");
    // This one names a key that may be new: it waits until that can be said.
    alice.revoke(Target::AccessToken(unknown.access_token)).await.expect("heard of all keys by now");
    alice.revoke(Target::RefreshToken(tokens.refresh_token)).await.expect("a token of a known key needs no more");
}
