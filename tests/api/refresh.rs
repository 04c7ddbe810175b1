//! Refresh: rotation, races, lost answers, reuse.

use std::{sync::Arc, time::Duration};

use countersign::grpc::v1::{RefreshRequest, Roles, UpdateUserRequest};
use tokio::sync::Barrier;
use tonic::Code;

use crate::support::{Proxy, Setup, TestServer, live_sessions, refusal, violations};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn r30_each_refresh_replaces_the_refresh_token() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let first = alice.login().await;
    let answer = alice.refresh(&first.refresh_token).await.expect("refreshed");
    assert!(!answer.replayed);
    let second = answer.tokens.expect("tokens");
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_ne!(second.access_token, first.access_token);
    assert_eq!(second.session_id, first.session_id);
    alice.verify(&second.access_token).await.expect("valid");
    let third = alice.rotate(&second.refresh_token).await;
    assert_ne!(third.refresh_token, second.refresh_token);
}

#[tokio::test]
async fn p2_a_rotation_adds_no_row() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut tokens = alice.login().await;
    for _ in 0..10 {
        tokens = alice.rotate(&tokens.refresh_token).await;
    }
    assert_eq!(live_sessions(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_fifty_concurrent_refreshes_of_one_token_give_one_successor() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let barrier = Arc::new(Barrier::new(50));
    let refreshes = (0..50).map(|i| {
        let (alice, barrier) = (alice.at(if i % 2 == 0 { &server } else { &replica }), Arc::clone(&barrier));
        let token = tokens.refresh_token.clone();
        tokio::spawn(async move {
            barrier.wait().await;
            alice.refresh(&token).await.expect("no refresh fails")
        })
    });
    let (mut successors, mut new) = (Vec::new(), 0);
    for refresh in refreshes.collect::<Vec<_>>() {
        let answer = refresh.await.expect("joined");
        new += i32::from(!answer.replayed);
        successors.push(answer.tokens.expect("tokens").refresh_token);
    }
    successors.dedup();
    assert_eq!((successors.len(), new), (1, 1));
    assert_eq!(live_sessions(&server).await, 1);
    alice.rotate(&successors[0]).await;
}

#[tokio::test]
async fn r36_a_lost_answer_is_retried_and_gives_the_same_successor() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let lost = alice.rotate(&tokens.refresh_token).await;
    server.advance(Duration::from_secs(29)).await;
    let retried = alice.refresh(&tokens.refresh_token).await.expect("refreshed");
    assert!(retried.replayed);
    assert_eq!(retried.tokens.expect("tokens").refresh_token, lost.refresh_token);
}

#[tokio::test]
async fn p2_a_client_that_lost_the_answer_and_slept_goes_on() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let lost = alice.rotate(&tokens.refresh_token).await;
    server.advance(12 * 60 * MINUTE).await;
    let retried = alice.refresh(&tokens.refresh_token).await.expect("refreshed");
    assert!(!retried.replayed);
    let again = alice.refresh(&tokens.refresh_token).await.expect("a race of late retries converges");
    let successor = retried.tokens.expect("tokens").refresh_token;
    assert_eq!(again.tokens.expect("tokens").refresh_token, successor);
    alice.rotate(&successor).await;
    // The successor that was lost shows up: somebody else holds it.
    let abandoned = alice.refresh(&lost.refresh_token).await;
    assert_eq!(refusal(abandoned).1, "REFRESH_TOKEN_REUSED");
}

#[tokio::test]
async fn r31_reusing_a_refresh_token_ends_the_session_and_its_access_tokens() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let other_session = alice.login().await;
    let first = alice.login().await;
    let second = alice.rotate(&first.refresh_token).await;
    let third = alice.rotate(&second.refresh_token).await;
    let reused = alice.refresh(&first.refresh_token).await;
    assert_eq!(refusal(reused), (Code::Unauthenticated, "REFRESH_TOKEN_REUSED".into()));
    for tokens in [&first, &second, &third] {
        assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
        assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
    }
    alice.verify(&other_session.access_token).await.expect("other sessions go on");
}

#[tokio::test]
async fn garbage_is_refused_with_no_database_statement() {
    let mut setup = Setup::new().await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    proxy.cut();
    let mut altered = tokens.refresh_token.clone();
    altered.replace_range(10..11, if &altered[10..11] == "A" { "B" } else { "A" });
    for garbage in ["x", "csr_", &altered, &tokens.access_token[..200], &tokens.refresh_token[4..]] {
        let answer = alice.refresh(garbage).await;
        assert_eq!(refusal(answer), (Code::Unauthenticated, "REFRESH_TOKEN_INVALID".into()));
    }
    assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "DATABASE_UNAVAILABLE");
}

#[tokio::test]
async fn r20_each_token_is_accepted_for_its_own_purpose_only() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let swapped = alice.verify(&tokens.refresh_token).await;
    assert_eq!(refusal(swapped), (Code::Unauthenticated, "TOKEN_MALFORMED".into()));
    assert_eq!(violations(alice.refresh(&tokens.access_token).await), ["refresh_token"]);
    assert_eq!(violations(alice.refresh("").await), ["refresh_token"]);
    alice.rotate(&tokens.refresh_token).await;
}

#[tokio::test]
async fn an_access_token_that_comes_along_must_be_of_the_same_session() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (mine, other) = (alice.login().await, alice.login().await);
    let refresh = async |access_token: &str| {
        let request = RefreshRequest {
            refresh_token: mine.refresh_token.clone(),
            access_token: access_token.to_owned(),
            client: None,
        };
        server.auth_client().refresh(request).await
    };
    assert_eq!(refusal(refresh(&other.access_token).await).1, "REFRESH_TOKEN_INVALID");
    assert_eq!(refusal(refresh("garbage").await).1, "TOKEN_MALFORMED");
    server.advance(11 * MINUTE).await;
    assert_eq!(refusal(alice.verify(&mine.access_token).await).1, "TOKEN_EXPIRED");
    let answer = refresh(&mine.access_token).await.expect("an expired one will do");
    assert!(!answer.into_inner().replayed, "the refusals before have changed nothing");
}

#[tokio::test]
async fn r34_a_session_ends_when_it_is_idle_and_at_its_absolute_end() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let idle = alice.login().await;
    server.advance(14 * DAY).await;
    assert_eq!(refusal(alice.refresh(&idle.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
    let mut tokens = alice.login().await;
    for _ in 0..2 {
        server.advance(13 * DAY).await;
        tokens = alice.rotate(&tokens.refresh_token).await;
    }
    server.advance(4 * DAY - 2 * MINUTE).await;
    tokens = alice.rotate(&tokens.refresh_token).await;
    let principal = alice.verify(&tokens.access_token).await.expect("valid");
    let end = tokens.refresh_token_expires_at.expect("end");
    assert!(principal.expires_at.expect("end").seconds <= end.seconds, "no token outlives its session");
    server.advance(2 * MINUTE).await;
    assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_EXPIRED");
}

#[tokio::test]
async fn roles_are_read_afresh_at_each_refresh() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let update = UpdateUserRequest {
        user_id: alice.id.clone(),
        roles: Some(Roles { names: vec!["writer".into()] }),
        ..Default::default()
    };
    server.user_client().update_user(update).await.expect("updated");
    let before = alice.verify(&tokens.access_token).await.expect("valid");
    assert_eq!(before.roles, ["reader"]);
    let tokens = alice.rotate(&tokens.refresh_token).await;
    let after = alice.verify(&tokens.access_token).await.expect("valid");
    assert_eq!(after.roles, ["writer"]);
}
