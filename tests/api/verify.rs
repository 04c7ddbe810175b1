//! Verify and VerifyBatch.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::grpc::v1::{Rejection, VerifyBatchRequest, VerifyRequest, revoke_request::Target, verify_result};
use tonic::Code;

use crate::support::{Setup, TestServer, refusal, violations};

fn request(access_token: &str) -> VerifyRequest {
    VerifyRequest { access_token: access_token.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn every_rejection_has_its_reason() {
    let server = TestServer::start().await;
    // Another deployment with the same issuer, audience and user: only the keys differ.
    let elsewhere = TestServer::start().await;
    let alice = server.user("alice").await;
    let expired = alice.login().await;
    server.advance(Duration::from_secs(600)).await;
    let (valid, revoked) = (alice.login().await, alice.login().await);
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    let foreign = elsewhere.user("alice").await.login().await;
    let (body, signature) = valid.access_token.rsplit_once('.').expect("a JWT");
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = &format!("{body}.{other}{}", &signature[1..]);
    for (token, reason) in [
        (expired.access_token.as_str(), "TOKEN_EXPIRED"),
        (&revoked.access_token, "TOKEN_REVOKED"),
        (&foreign.access_token, "TOKEN_SIGNATURE_INVALID"),
        (forged, "TOKEN_SIGNATURE_INVALID"),
        ("", "TOKEN_MALFORMED"),
        ("garbage", "TOKEN_MALFORMED"),
        (&"x".repeat(60_000), "TOKEN_MALFORMED"),
        ("a\0b", "TOKEN_MALFORMED"),
        (&valid.refresh_token, "TOKEN_MALFORMED"),
    ] {
        let answer = refusal(server.auth_client().verify(request(token)).await);
        assert_eq!(answer, (Code::Unauthenticated, reason.into()), "{token:.30}");
    }
    alice.verify(&valid.access_token).await.expect("valid");
}

#[tokio::test]
async fn r05_the_audience_that_is_asked_for_must_be_in_the_token() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    let verify = async |audience: &str| {
        let request = VerifyRequest { audience: audience.into(), ..request(&tokens.access_token) };
        server.auth_client().verify(request).await
    };
    verify("internal").await.expect("valid");
    assert_eq!(refusal(verify("billing").await).1, "TOKEN_AUDIENCE_MISMATCH");
    assert_eq!(violations(verify(&"x".repeat(257)).await), ["audience"]);
}

#[tokio::test]
async fn p3_every_answer_says_how_fresh_it_is_and_a_caller_may_ask_for_more() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    server.catch_up().await;
    server.clock.advance(Duration::from_secs(5));
    let verify = async |seconds: i64| {
        let max_staleness = Some(prost_types::Duration { seconds, nanos: 0 });
        let request = VerifyRequest { max_staleness, ..request(&tokens.access_token) };
        server.auth_client().verify(request).await
    };
    let answer = verify(600).await.expect("fresh").into_inner();
    let as_of = answer.revocations_as_of.expect("as of").seconds;
    assert!(as_of <= server.clock.now().unix_timestamp());
    assert_eq!(violations(verify(-1).await), ["max_staleness"]);
}

#[tokio::test]
async fn p1_a_batch_answers_for_each_token_in_order_verified_before_or_not() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (valid, revoked) = (alice.login().await, alice.login().await);
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    let rejected = |rejection: Rejection| Some(verify_result::Result::Rejection(rejection.into()));
    let batch = VerifyBatchRequest {
        access_tokens: vec![valid.access_token, "garbage".into(), revoked.access_token],
        ..Default::default()
    };
    let answer = async || {
        let answer = server.auth_client().verify_batch(batch.clone()).await.expect("answered").into_inner();
        assert!(answer.revocations_as_of.is_some());
        let [first, rest @ ..] = &answer.results[..] else {
            panic!("no results");
        };
        let expected = [Rejection::TokenMalformed, Rejection::TokenRevoked].map(rejected);
        assert!(rest.iter().map(|result| result.result.clone()).eq(expected), "{rest:?}");
        first.result.clone()
    };
    for _ in 0..2 {
        let Some(verify_result::Result::Principal(principal)) = answer().await else {
            panic!("the first is valid");
        };
        assert_eq!((principal.user_id, principal.session_id), (alice.id.clone(), valid.session_id.clone()));
    }
    alice.revoke(Target::SessionId(valid.session_id)).await.expect("revoked");
    assert_eq!(answer().await, rejected(Rejection::TokenRevoked));
}

#[tokio::test]
async fn a_batch_holds_1_to_1000_tokens() {
    let server = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    let batch = async |count: usize| {
        let access_tokens = vec![tokens.access_token.clone(); count];
        let request = VerifyBatchRequest { access_tokens, ..Default::default() };
        server.auth_client().verify_batch(request).await
    };
    assert_eq!(batch(1000).await.expect("answered").into_inner().results.len(), 1000);
    assert_eq!(violations(batch(0).await), ["access_tokens"]);
    assert_eq!(violations(batch(1001).await), ["access_tokens"]);
}

/// How many tokens the server has verified and not forgotten.
fn remembered(server: &TestServer) -> usize {
    server.auth.verifier.remembered()
}

#[tokio::test]
async fn p1_a_token_that_was_verified_before_is_refused_as_soon_as_one_that_was_not() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (revoked, killed) = (alice.login().await, alice.login().await);
    for tokens in [&revoked, &killed] {
        for _ in 0..2 {
            alice.verify(&tokens.access_token).await.expect("valid");
        }
    }
    assert_eq!(remembered(&server), 2);
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    for _ in 0..2 {
        assert_eq!(refusal(alice.verify(&revoked.access_token).await).1, "TOKEN_REVOKED");
    }
    let other = VerifyRequest { audience: "billing".into(), ..request(&killed.access_token) };
    assert_eq!(refusal(server.auth_client().verify(other).await).1, "TOKEN_AUDIENCE_MISMATCH");
    let header = killed.access_token.split('.').next().expect("a header");
    let header = URL_SAFE_NO_PAD.decode(header).expect("base64url");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    server.auth.keys.kill(header["kid"].as_str().expect("a kid")).await.expect("killed");
    server.catch_up().await;
    assert_eq!(refusal(alice.verify(&killed.access_token).await).1, "TOKEN_REVOKED");
    assert_eq!(remembered(&server), 0, "what a set of keys has verified goes with it");
}

#[tokio::test]
async fn a_token_that_was_verified_before_expires_and_is_forgotten() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    alice.verify(&tokens.access_token).await.expect("valid");
    server.advance(Duration::from_secs(600)).await;
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_EXPIRED");
    let next = alice.rotate(&tokens.refresh_token).await;
    alice.verify(&next.access_token).await.expect("valid");
    assert_eq!(remembered(&server), 2);
    server.auth.forget_expired_tokens();
    assert_eq!(remembered(&server), 1);
}

#[tokio::test]
async fn nothing_is_remembered_that_none_of_our_keys_has_signed_or_that_has_expired() {
    let server = TestServer::start().await;
    let elsewhere = TestServer::start().await;
    let tokens = server.user("alice").await.login().await;
    let foreign = elsewhere.user("alice").await.login().await;
    let (body, _) = tokens.access_token.rsplit_once('.').expect("a JWT");
    let (_, signature) = foreign.access_token.rsplit_once('.').expect("a JWT");
    server.advance(Duration::from_secs(600)).await;
    for token in [&foreign.access_token, &format!("{body}.{signature}"), "garbage", &tokens.access_token] {
        refusal(server.auth_client().verify(request(token)).await);
    }
    assert_eq!(remembered(&server), 0);
}

/// The cache changes how fast an answer is, and nothing else.
#[tokio::test]
async fn without_a_cache_the_answers_are_the_same() {
    let mut setup = Setup::new().await;
    setup.settings.tokens.verify_cache = 0;
    let cold = setup.start().await;
    let warm = cold.replica().await;
    let alice = cold.user("alice").await;
    let (good, revoked) = (alice.login().await, alice.login().await);
    for server in [&cold, &warm] {
        let user = alice.at(server);
        let once = user.verify(&good.access_token).await.expect("valid");
        assert_eq!(user.verify(&good.access_token).await.expect("valid"), once);
    }
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    warm.catch_up().await;
    for tokens in [&good, &revoked] {
        let [cold, warm] = [&cold, &warm].map(|server| alice.at(server));
        let (cold, warm) = (cold.verify(&tokens.access_token).await, warm.verify(&tokens.access_token).await);
        assert_eq!(cold.map_err(|status| status.code()), warm.map_err(|status| status.code()));
    }
    assert_eq!((remembered(&cold), remembered(&warm)), (0, 2));
}
