//! Outages of the database: never a logout, never a success by skipping a check (promises P3 and P4).

use std::time::Duration;

use countersign::grpc::v1::{VerifyRequest, revoke_request::Target};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;
use tonic::Code;

use crate::support::{PASSWORD, Proxy, Setup, TestServer, User, live_sessions, refusal};

/// A server behind a proxy that can be cut.
async fn behind_a_proxy(deadline: Duration) -> (TestServer, Proxy) {
    let mut setup = Setup::new().await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    setup.database_deadline = deadline;
    (setup.start().await, proxy)
}

async fn assert_unavailable(alice: &User, refresh_token: &str) {
    let unavailable = (Code::Unavailable, "DATABASE_UNAVAILABLE".to_owned());
    assert_eq!(refusal(alice.login_with(PASSWORD).await), unavailable);
    assert_eq!(refusal(alice.login_with("wrong").await), unavailable);
    assert_eq!(refusal(alice.refresh(refresh_token).await), unavailable);
    let target = Target::RefreshToken(refresh_token.to_owned());
    assert_eq!(refusal(alice.revoke(target).await), unavailable);
}

#[tokio::test]
async fn p4_a_database_that_is_cut_off_is_no_logout_and_everything_recovers() {
    let (server, proxy) = behind_a_proxy(Duration::from_secs(2)).await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    proxy.cut();
    assert_unavailable(&alice, &tokens.refresh_token).await;
    alice.verify(&tokens.access_token).await.expect("verify goes on");
    server.clock.advance(Duration::from_secs(30));
    alice.verify(&tokens.access_token).await.expect("verify goes on up to the bound");
    server.clock.advance(Duration::from_secs(1));
    let stale = (Code::Unavailable, "REVOCATIONS_STALE".to_owned());
    assert_eq!(refusal(alice.verify(&tokens.access_token).await), stale);
    assert_eq!(refusal(alice.verify("garbage").await), stale, "freshness is checked first");
    proxy.mend();
    server.catch_up().await;
    alice.verify(&tokens.access_token).await.expect("recovered");
    alice.rotate(&tokens.refresh_token).await;
    alice.login().await;
    assert_eq!(live_sessions(&server).await, 2, "nothing was lost and nothing ended");
}

/// Each notification has the follower read; a reading makes nothing fresh.
#[tokio::test]
async fn p3_a_stream_of_revocations_puts_no_heartbeat_off() {
    let server = TestServer::start().await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connected");
    let mut beats = async || -> i64 {
        connection.execute("NOTIFY countersign_revocations").await.expect("notified");
        let asked = sqlx::query_scalar("SELECT beats FROM replicas WHERE id = $1").bind(server.auth.base.log.replica());
        asked.fetch_one(&mut connection).await.expect("on the list")
    };
    let before = beats().await;
    let beaten = async { while beats().await < before + 3 {} };
    timeout(Duration::from_secs(30), beaten).await.expect("at least one a second");
}

#[tokio::test]
async fn v8_a_database_that_hangs_is_given_up_at_the_deadline() {
    let (server, proxy) = behind_a_proxy(Duration::from_millis(200)).await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    proxy.freeze();
    assert_unavailable(&alice, &tokens.refresh_token).await;
    alice.verify(&tokens.access_token).await.expect("verify goes on");
    proxy.mend();
    server.catch_up().await;
    alice.rotate(&tokens.refresh_token).await;
}

#[tokio::test]
async fn p3_a_caller_that_wants_fresher_state_is_told_when_it_is_not() {
    let (server, proxy) = behind_a_proxy(Duration::from_secs(2)).await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    proxy.cut();
    server.clock.advance(Duration::from_secs(5));
    let verify = async |seconds: i64| {
        let request = VerifyRequest {
            access_token: tokens.access_token.clone(),
            max_staleness: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..Default::default()
        };
        server.auth_client().verify(request).await
    };
    verify(600).await.expect("within the server's bound");
    verify(6).await.expect("within the caller's bound");
    assert_eq!(refusal(verify(4).await).1, "REVOCATIONS_STALE");
}

#[tokio::test]
async fn p1_a_replica_that_was_cut_off_refuses_what_was_revoked_meanwhile() {
    let server = TestServer::start().await;
    let proxy = Proxy::before(&server.database_url);
    let mut setup = Setup::new().await;
    (setup.database_url, setup.clock) = (proxy.url(), server.clock.clone());
    let cut_off = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    proxy.cut();
    let revoked = alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    assert!(!revoked.confirmed);
    let there = alice.at(&cut_off);
    there.verify(&tokens.access_token).await.expect("it has not heard yet");
    let bound = revoked.everywhere_by.expect("bound").seconds - server.clock.now().unix_timestamp();
    server.clock.advance(Duration::from_secs(u64::try_from(bound).expect("ahead") + 1));
    assert_eq!(refusal(there.verify(&tokens.access_token).await).1, "REVOCATIONS_STALE");
    proxy.mend();
    cut_off.catch_up().await;
    assert_eq!(refusal(there.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
}

#[tokio::test]
async fn r66_a_revoke_whose_commit_was_not_answered_may_be_repeated() {
    let (server, proxy) = behind_a_proxy(Duration::from_secs(2)).await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let target = Target::SessionId(tokens.session_id.clone());
    let session = uuid::Uuid::parse_str(&tokens.session_id).expect("id");
    proxy.lose_answer_to(session.as_bytes());
    assert_eq!(refusal(alice.revoke(target.clone()).await).1, "DATABASE_UNAVAILABLE");
    assert_eq!(live_sessions(&server).await, 0, "it was committed all the same");
    assert_eq!(alice.revoke(target).await.expect("ok").sessions_revoked, 0);
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
}

#[tokio::test]
async fn r36_a_refresh_whose_answer_the_database_lost_is_retried_with_the_same_token() {
    let (server, proxy) = behind_a_proxy(Duration::from_secs(2)).await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let session = uuid::Uuid::parse_str(&tokens.session_id).expect("id");
    proxy.lose_answer_to(session.as_bytes());
    assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "DATABASE_UNAVAILABLE");
    let retried = alice.refresh(&tokens.refresh_token).await.expect("refreshed");
    assert!(retried.replayed, "the rotation had happened");
    alice.rotate(&retried.tokens.expect("tokens").refresh_token).await;
}

#[tokio::test]
async fn a_stop_ends_even_while_the_database_hangs() {
    let (server, proxy) = behind_a_proxy(Duration::from_millis(300)).await;
    server.user("alice").await;
    proxy.freeze();
    let stopped = tokio::time::timeout(Duration::from_secs(30), server.stop()).await;
    stopped.expect("it ends").expect("cleanly");
}
