//! Confirmation: when Revoke says "confirmed", no replica accepts the tokens any more, and it says so as soon as it can.

use std::time::Duration;

use countersign::{
    domain::policy::Notifications,
    error::Error,
    grpc::v1::{RevokeRequest, RevokeResponse, SetPasswordRequest, VerifyRequest, revoke_request::Target},
};
use countersign_token::verifier::Requirements;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::Request;

use crate::support::{Proxy, Setup, TestServer, User, administering, refusal, so_many_wait, somebody_waits};

const BOUND: Duration = Duration::from_secs(30);
/// Milliseconds are enough; a crowded machine takes longer.
const PATIENT: Option<Duration> = Some(Duration::from_secs(20));

async fn revoke(server: &TestServer, session_id: &str, wait: Option<Duration>) -> RevokeResponse {
    let request = RevokeRequest {
        target: Some(Target::SessionId(session_id.to_owned())),
        wait: wait.map(|wait| wait.try_into().expect("short")),
        ..Default::default()
    };
    server.auth_client().revoke(request).await.expect("revoked").into_inner()
}

/// A replica that reaches the database through a proxy.
async fn behind_a_proxy(server: &TestServer) -> (TestServer, Proxy) {
    let proxy = Proxy::before(&server.database_url);
    let replica = Setup::on(proxy.url(), server.clock.clone()).start().await;
    (replica, proxy)
}

async fn assert_dead(user: &User, access_token: &str) {
    assert_eq!(refusal(user.verify(access_token).await).1, "TOKEN_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_when_it_is_confirmed_every_replica_refuses_already() {
    let servers = [TestServer::start().await];
    let [one] = &servers;
    let others = [one.replica().await, one.replica().await];
    let alice = one.user("alice").await;
    for _ in 0..20 {
        let tokens = alice.login().await;
        let answer = revoke(one, &tokens.session_id, PATIENT).await;
        assert!(answer.confirmed, "all are well");
        for replica in [one, &others[0], &others[1]] {
            assert_dead(&alice.at(replica), &tokens.access_token).await;
        }
        let again = revoke(&others[0], &tokens.session_id, PATIENT).await;
        assert!(again.confirmed && again.sessions_revoked == 0, "what has ended can be confirmed again");
    }
}

#[tokio::test]
async fn p1_a_single_replica_needs_nobody() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    assert!(revoke(&server, &tokens.session_id, Some(Duration::ZERO)).await.confirmed);
    let answer = revoke(&server, &uuid::Uuid::nil().to_string(), Some(Duration::ZERO)).await;
    assert!(answer.confirmed && answer.sessions_revoked == 0, "a session without a row");
}

#[tokio::test]
async fn p1_a_replica_that_was_cut_off_is_waited_for_until_it_refuses_by_itself() {
    let server = TestServer::start().await;
    let (cut_off, proxy) = behind_a_proxy(&server).await;
    let alice = server.user("alice").await;
    let (first, second) = (alice.login().await, alice.login().await);
    proxy.cut();
    let answer = revoke(&server, &first.session_id, Some(Duration::from_millis(100))).await;
    assert!(!answer.confirmed, "it has not heard, and may accept");
    alice.at(&cut_off).verify(&first.access_token).await.expect("it does");
    // Its silence has been noticed by now; its bound passes.
    server.advance(BOUND + BOUND / 50).await;
    assert!(revoke(&server, &second.session_id, Some(Duration::ZERO)).await.confirmed, "and refuses by itself");
    for tokens in [first, second] {
        assert_eq!(refusal(alice.at(&cut_off).verify(&tokens.access_token).await).1, "REVOCATIONS_STALE");
    }
}

#[tokio::test]
async fn p1_a_replica_that_has_stopped_is_not_waited_for() {
    let server = TestServer::start().await;
    let (leaving, _proxy) = behind_a_proxy(&server).await;
    let tokens = server.user("alice").await.login().await;
    leaving.stop().await.expect("stopped");
    assert!(revoke(&server, &tokens.session_id, Some(Duration::ZERO)).await.confirmed);
}

#[tokio::test]
async fn p1_a_call_that_is_still_under_way_when_its_server_leaves_accepts_nothing() {
    let server = TestServer::start().await;
    let leaving = server.replica().await;
    let tokens = server.user("alice").await.login().await;
    let auth = std::sync::Arc::clone(&leaving.auth);
    auth.verify(&tokens.access_token, Requirements::default()).expect("valid");
    leaving.stop().await.expect("stopped");
    assert!(matches!(auth.verify(&tokens.access_token, Requirements::default()), Err(Error::RevocationsStale)));
}

/// Sessions that ended by the user's epoch on another replica, and are "ended" again, all but one, on one that has not heard.
#[tokio::test(flavor = "multi_thread")]
async fn p1_all_but_one_covers_what_ended_on_a_replica_that_was_not_heard_of() {
    let server = TestServer::start().await;
    let (deaf, proxy) = behind_a_proxy(&server).await;
    let alice = server.user("alice").await;
    let old = alice.login().await;
    let lock = format!("BEGIN; SELECT FROM replicas WHERE id = '{}' FOR UPDATE", deaf.auth.base.log.replica());
    let _blocker = hold(&server, &lock).await;
    deaf.auth.base.log.request_heartbeat();
    somebody_waits(&server.database_url).await;
    alice.revoke(Target::UserId(alice.id.clone())).await.expect("revoked");
    let kept = alice.login().await;
    let all_but_one = RevokeRequest {
        target: Some(Target::UserId(alice.id.clone())),
        keep_session_id: kept.session_id.clone(),
        ..Default::default()
    };
    deaf.auth_client().revoke(administering(all_but_one)).await.expect("revoked");
    assert_dead(&alice.at(&deaf), &old.access_token).await;
    alice.at(&deaf).verify(&kept.access_token).await.expect("kept");
    drop(proxy);
}

#[tokio::test]
async fn a_caller_with_a_deadline_gets_an_honest_answer_before_it() {
    let server = TestServer::start().await;
    let (_cut_off, proxy) = behind_a_proxy(&server).await;
    let tokens = server.user("alice").await.login().await;
    proxy.cut();
    let mut request = Request::new(RevokeRequest {
        target: Some(Target::SessionId(tokens.session_id)),
        wait: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    });
    request.set_timeout(Duration::from_secs(2));
    let answer = server.auth_client().revoke(request).await.expect("in time").into_inner();
    assert_eq!((answer.sessions_revoked, answer.confirmed), (1, false));
}

#[tokio::test]
async fn whatever_ends_sessions_says_whether_it_is_confirmed() {
    let server = TestServer::start().await;
    let (replica, proxy) = behind_a_proxy(&server).await;
    let alice = server.user("alice").await;
    let set = async || {
        let request = SetPasswordRequest { user_id: alice.id.clone(), password: "another horse battery".into() };
        server.user_client().set_password(administering(request)).await.expect("set").into_inner()
    };
    let tokens = alice.login().await;
    assert!(set().await.confirmed);
    assert_dead(&alice.at(&replica), &tokens.access_token).await;
    proxy.cut();
    let answer = set().await;
    assert!(!answer.confirmed);
    let by = answer.everywhere_by.expect("bound").seconds - server.clock.now().unix_timestamp();
    assert!((34..=36).contains(&by), "the bound, and what a connection may outlive its address: {by}");
}

/// The follower's half of the bargain. A replica stands still, is taken for silent, and wakes up with a statement under
/// way that began before the revocation and ends after the confirmation: what that statement read must not count.
#[tokio::test(flavor = "multi_thread")]
async fn p1_a_replica_that_wakes_from_silence_accepts_nothing_that_was_confirmed_meanwhile() {
    let server = TestServer::start().await;
    // Without notifications: a reading between two heartbeats would tell it.
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.settings.revocation.notifications = Notifications::Off;
    let asleep = setup.start().await;
    let alice = server.user("alice").await;
    let lock = format!("BEGIN; SELECT FROM replicas WHERE id = '{}' FOR UPDATE", asleep.auth.base.log.replica());
    for _ in 0..100 {
        let (noticed, tokens) = (alice.login().await, alice.login().await);
        // Seen by the one, and then not a heartbeat for two seconds of the other: on a connection that is young still.
        asleep.catch_up().await;
        revoke(&server, &noticed.session_id, None).await;
        server.clock.advance(Duration::from_secs(2));
        let mut first = hold(&server, &lock).await;
        asleep.auth.base.log.request_heartbeat();
        somebody_waits(&server.database_url).await;
        // Behind that beat, so that no other follows on it.
        let second = tokio::spawn(hold(&server, &lock));
        so_many_wait(&server.database_url, 2).await;
        server.clock.advance(Duration::from_millis(29_500));
        let confirmed = revoke(&server, &tokens.session_id, Some(Duration::ZERO)).await.confirmed;
        first.execute("COMMIT").await.expect("released");
        let mut second = second.await.expect("the beat has ended");
        if confirmed {
            for _ in 0..100 {
                let refused = refusal(alice.at(&asleep).verify(&tokens.access_token).await).1;
                // The next beat may have come in between, and has read it.
                assert!(["REVOCATIONS_STALE", "TOKEN_REVOKED"].contains(&refused.as_str()), "{refused}");
            }
        }
        second.execute("COMMIT").await.expect("released");
        server.catch_up().await;
        asleep.catch_up().await;
        assert_dead(&alice.at(&asleep), &tokens.access_token).await;
        if confirmed {
            return;
        }
        // It had beaten in between, and was not silent: once more.
    }
    panic!("never confirmed");
}

/// A connection that has executed `lock`.
fn hold(server: &TestServer, lock: &str) -> impl Future<Output = PgConnection> + use<> {
    let (url, lock) = (server.database_url.clone(), lock.to_owned());
    async move {
        let mut connection = PgConnection::connect(&url).await.expect("connect");
        connection.execute(sqlx::AssertSqlSafe(lock)).await.expect("locked");
        connection
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_replica_that_was_asked_refuses_at_once_even_when_it_cannot_read_the_log() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let lock = format!("BEGIN; SELECT FROM replicas WHERE id = '{}' FOR UPDATE", server.auth.base.log.replica());
    let _blocker = hold(&server, &lock).await;
    server.auth.base.log.request_heartbeat();
    somebody_waits(&server.database_url).await;
    revoke(&server, &tokens.session_id, Some(Duration::ZERO)).await;
    assert_dead(&alice, &tokens.access_token).await;
}

/// REQUIREMENTS V1: as of when the state is fresh is read before the statement is sent, and not when it is answered.
#[tokio::test(flavor = "multi_thread")]
async fn v1_a_beat_that_took_long_makes_fresh_as_of_its_beginning() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    let lock = format!("BEGIN; SELECT FROM replicas WHERE id = '{}' FOR UPDATE", server.auth.base.log.replica());
    let mut first = hold(&server, &lock).await;
    server.auth.base.log.request_heartbeat();
    somebody_waits(&server.database_url).await;
    let second = tokio::spawn(hold(&server, &lock));
    so_many_wait(&server.database_url, 2).await;
    server.clock.advance(Duration::from_secs(20));
    first.execute("COMMIT").await.expect("released");
    let mut second = second.await.expect("the beat has ended");
    // The next one waits, so this state is that of the beat that took 20 seconds.
    let verify = VerifyRequest {
        access_token: tokens.access_token,
        max_staleness: Some(prost_types::Duration { seconds: 15, nanos: 0 }),
        ..Default::default()
    };
    for _ in 0..100 {
        assert_eq!(refusal(server.auth_client().verify(verify.clone()).await).1, "REVOCATIONS_STALE");
    }
    second.execute("COMMIT").await.expect("released");
}

/// REQUIREMENTS V1: what was read is applied before the state counts as fresh. Here the keys cannot be read for a while.
#[tokio::test(flavor = "multi_thread")]
async fn v1_nothing_is_fresh_before_what_was_read_has_been_applied() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let _blocker = hold(&server, "BEGIN; LOCK TABLE keys IN ACCESS EXCLUSIVE MODE").await;
    let mut writer = PgConnection::connect(&server.database_url).await.expect("connect");
    let changed = "WITH head AS (UPDATE revocation_head SET seq = seq + 1 RETURNING seq) \
                   INSERT INTO revocations (seq, id, kind, expires_at, revoked_at, reason) \
                   SELECT seq, gen_random_uuid(), 'key', now() + interval '3 hours', now(), 'keys_rotated' FROM head";
    writer.execute(changed).await.expect("the log says that the keys have changed");
    server.clock.advance(BOUND + Duration::from_secs(1));
    server.auth.base.log.request_heartbeat();
    somebody_waits(&server.database_url).await;
    for _ in 0..100 {
        assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "REVOCATIONS_STALE");
    }
}
