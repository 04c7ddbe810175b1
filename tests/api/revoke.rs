//! Revoke, and every other way by which sessions end.

use std::{sync::Arc, time::Duration};

use countersign::grpc::v1::{
    ClientInfo, DeleteUserRequest, ListSessionsRequest, LoginRequest, RevokeRequest, TokenPair, revoke_request::Target,
};
use tokio::sync::Barrier;
use tonic::Code;

use crate::support::{PASSWORD, TestServer, User, live_sessions, refusal, violations};

async fn assert_ended(user: &User, tokens: &TokenPair) {
    let verified = refusal(user.verify(&tokens.access_token).await);
    assert_eq!(verified, (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    let refreshed = refusal(user.refresh(&tokens.refresh_token).await);
    assert_eq!(refreshed, (Code::Unauthenticated, "REFRESH_TOKEN_INVALID".into()));
}

async fn assert_alive(user: &User, tokens: &TokenPair) {
    user.verify(&tokens.access_token).await.expect("alive");
    user.refresh(&tokens.refresh_token).await.expect("alive");
}

#[tokio::test]
async fn r38_revoking_by_any_token_of_a_session_ends_the_session() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let bystander = alice.login().await;
    let ways: [fn(TokenPair, TokenPair) -> Target; 5] = [
        |_, new| Target::RefreshToken(new.refresh_token),
        |_, new| Target::AccessToken(new.access_token),
        |old, _| Target::RefreshToken(old.refresh_token),
        |old, _| Target::AccessToken(old.access_token),
        |_, new| Target::SessionId(new.session_id),
    ];
    for way in ways {
        let old = alice.login().await;
        let new = alice.rotate(&old.refresh_token).await;
        let answer = alice.revoke(way(old.clone(), new.clone())).await.expect("revoked");
        assert_eq!(answer.sessions_revoked, 1);
        let bound = answer.everywhere_by.expect("bound").seconds - server.clock.now().unix_timestamp();
        assert!((34..=36).contains(&bound), "{bound}");
        assert_ended(&alice, &new).await;
        assert_ended(&alice, &old).await;
    }
    assert_alive(&alice, &bystander).await;
}

#[tokio::test]
async fn an_expired_access_token_still_ends_its_session() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    server.advance(Duration::from_secs(3600)).await;
    let target = Target::AccessToken(tokens.access_token.clone());
    assert_eq!(alice.revoke(target).await.expect("revoked").sessions_revoked, 1);
    assert_eq!(live_sessions(&server).await, 0);
}

#[tokio::test]
async fn r37_revoking_what_is_unknown_or_has_ended_is_ok() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let unknown = "01900000-0000-7000-8000-000000000000";
    for target in [
        Target::RefreshToken(String::new()),
        Target::RefreshToken("csr_garbage".into()),
        Target::RefreshToken("x".repeat(60_000)),
        Target::AccessToken("garbage".into()),
        Target::SessionId(unknown.into()),
        Target::UserId(unknown.into()),
    ] {
        assert_eq!(alice.revoke(target).await.expect("ok").sessions_revoked, 0);
    }
    let target = Target::SessionId(tokens.session_id.clone());
    assert_eq!(alice.revoke(target.clone()).await.expect("ok").sessions_revoked, 1);
    assert_eq!(alice.revoke(target).await.expect("ok").sessions_revoked, 0);
    assert_ended(&alice, &tokens).await;
}

#[tokio::test]
async fn revoking_a_user_ends_all_its_sessions_but_the_one_to_keep() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let (kept, others) = (alice.login().await, [alice.login().await, alice.login().await]);
    let bystander = bob.login().await;
    let request = RevokeRequest {
        target: Some(Target::UserId(alice.id.clone())),
        keep_session_id: kept.session_id.clone(),
        wait: None,
    };
    let answer = server.auth_client().revoke(request).await.expect("revoked").into_inner();
    assert_eq!(answer.sessions_revoked, 2);
    for tokens in &others {
        assert_ended(&alice, tokens).await;
    }
    alice.verify(&kept.access_token).await.expect("kept");
    let kept = alice.rotate(&kept.refresh_token).await;
    let all = alice.revoke(Target::UserId(alice.id.clone())).await.expect("revoked");
    assert_eq!(all.sessions_revoked, 1);
    assert_ended(&alice, &kept).await;
    assert_alive(&bob, &bystander).await;
    let anew = alice.login().await;
    assert_alive(&alice, &anew).await;
}

#[tokio::test]
async fn p1_a_second_revoke_on_another_replica_is_known_there_at_once() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let target = Target::SessionId(tokens.session_id.clone());
    alice.revoke(target.clone()).await.expect("revoked");
    let alice = alice.at(&replica);
    alice.revoke(target).await.expect("ok");
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
}

#[tokio::test]
async fn p1_whoever_revokes_a_user_on_another_replica_may_rely_on_the_answer_there() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let (deleted, ended, kept) = (alice.login().await, bob.login().await, bob.login().await);
    server.user_client().delete_user(DeleteUserRequest { user_id: alice.id.clone() }).await.expect("deleted");
    bob.revoke(Target::SessionId(ended.session_id.clone())).await.expect("revoked");
    let (alice, bob) = (alice.at(&replica), bob.at(&replica));
    alice.revoke(Target::UserId(alice.id.clone())).await.expect("ok");
    assert_eq!(refusal(alice.verify(&deleted.access_token).await).1, "TOKEN_REVOKED");
    let others = RevokeRequest {
        target: Some(Target::UserId(bob.id.clone())),
        keep_session_id: kept.session_id.clone(),
        wait: None,
    };
    replica.auth_client().revoke(others).await.expect("ok");
    assert_eq!(refusal(bob.verify(&ended.access_token).await).1, "TOKEN_REVOKED");
    bob.verify(&kept.access_token).await.expect("kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_nothing_minted_survives_an_acknowledged_revoke() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let alice = server.user("alice").await;
    for round in 0..20 {
        let first = alice.login().await;
        let barrier = Arc::new(Barrier::new(9));
        let refreshes: Vec<_> = (0..8)
            .map(|i| {
                let alice = alice.at(if i % 2 == 0 { &server } else { &replica });
                let (barrier, token) = (Arc::clone(&barrier), first.refresh_token.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    alice.refresh(&token).await
                })
            })
            .collect();
        barrier.wait().await;
        let target =
            if round % 2 == 0 { Target::SessionId(first.session_id.clone()) } else { Target::UserId(alice.id.clone()) };
        alice.revoke(target).await.expect("revoked");
        for refresh in refreshes {
            match refresh.await.expect("joined") {
                Ok(answer) => assert_ended(&alice, &answer.tokens.expect("tokens")).await,
                Err(status) => assert_eq!(refusal::<()>(Err(status)).1, "REFRESH_TOKEN_INVALID"),
            }
        }
    }
    assert_eq!(live_sessions(&server).await, 0);
}

#[tokio::test]
async fn bad_input_is_named_and_ends_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let revoke = async |target: Option<Target>, keep: &str| {
        let request = RevokeRequest { target, keep_session_id: keep.to_owned(), wait: None };
        violations(server.auth_client().revoke(request).await)
    };
    assert_eq!(revoke(None, "").await, ["target"]);
    for id in ["", "x", "{01900000-0000-7000-8000-000000000000}", "01900000000070008000000000000000"] {
        assert_eq!(revoke(Some(Target::SessionId(id.into())), "").await, ["session_id"]);
        assert_eq!(revoke(Some(Target::UserId(id.into())), "").await, ["user_id"]);
    }
    let user = Some(Target::UserId(alice.id.clone()));
    assert_eq!(revoke(user, "x").await, ["keep_session_id"]);
    let session = Some(Target::SessionId(tokens.session_id.clone()));
    assert_eq!(revoke(session, &tokens.session_id).await, ["keep_session_id"]);
    let negative = RevokeRequest {
        target: Some(Target::UserId(alice.id.clone())),
        wait: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        ..Default::default()
    };
    assert_eq!(violations(server.auth_client().revoke(negative).await), ["wait"]);
    assert_alive(&alice, &tokens).await;
}

#[tokio::test]
async fn list_sessions_shows_the_live_ones_page_by_page() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let login = LoginRequest {
        username: "alice".into(),
        password: PASSWORD.into(),
        client: Some(ClientInfo { ip: "192.0.2.1".into(), device: "phone".into(), ..Default::default() }),
        ..Default::default()
    };
    let phone = server.auth_client().login(login).await.expect("logged in").into_inner();
    server.clock.advance(Duration::from_millis(1));
    let others = [alice.login().await, alice.login().await];
    alice.revoke(Target::SessionId(others[1].session_id.clone())).await.expect("revoked");
    let mut request = ListSessionsRequest { user_id: alice.id.clone(), page_size: 1, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = server.auth_client().list_sessions(request.clone()).await.expect("page").into_inner();
        seen.extend(page.sessions);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let ids: Vec<&str> = seen.iter().map(|session| session.session_id.as_str()).collect();
    let phone = phone.tokens.expect("tokens").session_id;
    assert_eq!(ids, [phone.as_str(), &others[0].session_id]);
    let client = seen[0].client.as_ref().expect("client");
    assert_eq!((client.ip.as_str(), client.device.as_str()), ("192.0.2.1", "phone"));
    for (page_size, page_token, field) in [(-1, "", "page_size"), (1001, "", "page_size"), (1, "x", "page_token")] {
        let request = ListSessionsRequest { user_id: alice.id.clone(), page_size, page_token: page_token.into() };
        assert_eq!(violations(server.auth_client().list_sessions(request).await), [field]);
    }
}
