//! Promise P1 as a table: every way by which a session ends, times everything that accepts one of its tokens, on every
//! replica.

use countersign::grpc::v1::{
    DeleteUserRequest, RefreshRequest, RevokeRequest, SetPasswordRequest, TokenPair, UpdateUserRequest,
    VerifyBatchRequest, revoke_request::Target,
};

use crate::support::{Setup, TestServer, User, administering, refusal};

const NEW_PASSWORD: &str = "another horse battery staple";

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    RefreshToken,
    AccessToken,
    ReplacedRefreshToken,
    SessionId,
    UserId,
    OthersOfUser,
    PasswordSet,
    PasswordChanged,
    OtherPasswordChanged,
    Disabled,
    Deleted,
    Reuse,
    KeyKilled,
    SessionLimit,
}

const WAYS: [Way; 14] = [
    Way::RefreshToken,
    Way::AccessToken,
    Way::ReplacedRefreshToken,
    Way::SessionId,
    Way::UserId,
    Way::OthersOfUser,
    Way::PasswordSet,
    Way::PasswordChanged,
    Way::OtherPasswordChanged,
    Way::Disabled,
    Way::Deleted,
    Way::Reuse,
    Way::KeyKilled,
    Way::SessionLimit,
];

/// Everything that accepts a token. The reason by which each refuses, if it does.
async fn refusals(user: &User, server: &TestServer, tokens: &TokenPair) -> [(&'static str, Option<String>); 4] {
    let verify = user.verify(&tokens.access_token).await.map(drop);
    let request = VerifyBatchRequest { access_tokens: vec![tokens.access_token.clone()], ..Default::default() };
    let batch = server.auth_client().verify_batch(request).await.expect("answered").into_inner();
    let batch = format!("{:?}", batch.results[0].result).contains("Rejection(TokenRevoked)");
    let refresh = user.refresh(&tokens.refresh_token).await.map(drop);
    let request = RefreshRequest {
        refresh_token: tokens.refresh_token.clone(),
        access_token: tokens.access_token.clone(),
        ..Default::default()
    };
    let with_access_token = server.auth_client().refresh(request).await.map(drop);
    let reason = |result: Result<(), tonic::Status>| result.is_err().then(|| refusal(result).1);
    [
        ("Verify", reason(verify)),
        ("VerifyBatch", batch.then(|| "TOKEN_REVOKED".to_owned())),
        ("Refresh", reason(refresh)),
        ("Refresh with the access token", reason(with_access_token)),
    ]
}

/// Ends the session of `tokens`, which replaced `old`. Says whether every replica knows.
async fn end(way: Way, server: &TestServer, user: &User, old: &TokenPair, tokens: &TokenPair) -> bool {
    let (mut users, user_id) = (server.user_client(), user.id.clone());
    match way {
        Way::RefreshToken => revoke(server, Target::RefreshToken(tokens.refresh_token.clone()), "").await,
        Way::AccessToken => revoke(server, Target::AccessToken(tokens.access_token.clone()), "").await,
        Way::ReplacedRefreshToken => revoke(server, Target::RefreshToken(old.refresh_token.clone()), "").await,
        Way::SessionId => revoke(server, Target::SessionId(tokens.session_id.clone()), "").await,
        Way::UserId => revoke(server, Target::UserId(user_id), "").await,
        Way::OthersOfUser => {
            let kept = user.login().await;
            let confirmed = revoke(server, Target::UserId(user_id), &kept.session_id).await;
            user.verify(&kept.access_token).await.expect("kept");
            confirmed
        }
        Way::PasswordSet => {
            let request = SetPasswordRequest { user_id, password: NEW_PASSWORD.into() };
            users.set_password(administering(request)).await.expect("set").into_inner().confirmed
        }
        Way::PasswordChanged | Way::OtherPasswordChanged => {
            let kept = user.login().await.session_id;
            let keep = if way == Way::PasswordChanged { "" } else { &kept };
            users
                .change_password(user.change_password(NEW_PASSWORD, keep))
                .await
                .expect("changed")
                .into_inner()
                .confirmed
        }
        Way::Disabled => {
            let request = UpdateUserRequest { user_id, disabled: Some(true), ..Default::default() };
            users.update_user(request).await.expect("disabled").into_inner().confirmed
        }
        Way::Deleted => users.delete_user(DeleteUserRequest { user_id }).await.expect("deleted").into_inner().confirmed,
        Way::Reuse => {
            user.rotate(&tokens.refresh_token).await;
            assert_eq!(refusal(user.refresh(&old.refresh_token).await).1, "REFRESH_TOKEN_REUSED");
            false
        }
        Way::KeyKilled => {
            let kid = jsonwebtoken::decode_header(&tokens.access_token).expect("header").kid.expect("kid");
            server.auth.keys.kill(&kid).await.expect("killed");
            false
        }
        Way::SessionLimit => {
            let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
            setup.settings.sessions.max_sessions_per_user = 1;
            let limited = setup.start().await;
            let newest = user.at(&limited).login().await;
            user.verify(&newest.access_token).await.expect("the newest lives");
            limited.stop().await.expect("stopped");
            false
        }
    }
}

async fn revoke(server: &TestServer, target: Target, keep: &str) -> bool {
    let request = RevokeRequest { target: Some(target), keep_session_id: keep.to_owned(), wait: None };
    server.auth_client().revoke(request).await.expect("revoked").into_inner().confirmed
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_r43_every_way_to_end_a_session_ends_everything_that_it_had_on_every_replica() {
    let here = TestServer::start().await;
    let there = here.replica().await;
    for way in WAYS {
        let user = here.user(&format!("{way:?}")).await;
        let bystander = user.login().await;
        let old = user.login().await;
        let tokens = user.rotate(&old.refresh_token).await;
        assert_eq!(refusals(&user.at(&there), &there, &bystander).await.map(|(_, reason)| reason), [const { None }; 4]);
        if !end(way, &here, &user, &old, &tokens).await {
            // These tell nobody whether it is confirmed.
            assert!(matches!(way, Way::Reuse | Way::KeyKilled | Way::SessionLimit), "{way:?} is confirmed");
            here.catch_up().await;
            there.catch_up().await;
        }
        for replica in [&there, &here] {
            for (what, refused) in refusals(&user.at(replica), replica, &tokens).await {
                let expected = match what {
                    "Verify" | "VerifyBatch" => Some("TOKEN_REVOKED"),
                    // The session lives, and gets tokens of a fresh key.
                    _ if way == Way::KeyKilled => None,
                    _ => Some("REFRESH_TOKEN_INVALID"),
                };
                assert_eq!(refused.as_deref(), expected, "{way:?}: {what}");
            }
        }
    }
}
