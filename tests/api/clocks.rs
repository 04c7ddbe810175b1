//! Clocks that stand still or are wrong: what is known is as old as the larger of two clocks says, and a replica whose wall
//! clock is too far from the database's signs nothing (REQUIREMENTS V13). No wall clock that jumps makes a key older.

use std::time::Duration;

use countersign::domain::key::Purpose;
use countersign_token::clock::Clock;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::Code;

use crate::{
    keys::{is_signed, jwks},
    support::{PASSWORD, Setup, TestServer, refusal},
};

const MINUTE: Duration = Duration::from_secs(60);
/// Longer than a key is published before it may sign.
const LEAD: Duration = Duration::from_secs(71 * 60);
/// Longer than a key signs, and than one that signs no more is kept.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A virtual machine that was paused: the clock that counts since boot has stood still, and the wall clock was set right.
#[tokio::test]
async fn v13_a_replica_that_was_paused_refuses_what_it_knew_before() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    alice.verify(&tokens.access_token).await.expect("valid");
    let mut refused = 0;
    for _ in 0..100 {
        // It may have heard of the database between the pause and the call.
        server.clock.set_wall_ahead(Duration::from_secs(31));
        if let Err(status) = alice.verify(&tokens.access_token).await {
            let reason = refusal::<()>(Err(status)).1;
            refused += usize::from(reason == "REVOCATIONS_STALE");
        }
        server.catch_up().await;
    }
    assert!(refused > 0, "it was never refused");
}

#[tokio::test]
async fn v13_a_replica_whose_wall_clock_is_wrong_signs_nothing_and_says_so() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let clock = Clock::manual();
    clock.set_wall_ahead(Duration::from_secs(90));
    let mut setup = Setup::on(server.database_url.clone(), clock.clone());
    setup.settings.revocation.max_clock_distance = Duration::from_secs(60);
    let wrong = setup.start().await;
    let there = alice.at(&wrong);
    let unavailable = (Code::Unavailable, "CLOCK_WRONG".to_owned());
    assert_eq!(refusal(there.login_with(PASSWORD).await), unavailable);
    assert_eq!(refusal(there.refresh(&tokens.refresh_token).await), unavailable);
    there.verify(&tokens.access_token).await.expect("what others have signed it can verify");
    alice.rotate(&tokens.refresh_token).await;

    let mut setup = Setup::on(server.database_url.clone(), clock);
    setup.settings.revocation.max_clock_distance = Duration::from_secs(120);
    let allowed = setup.start().await;
    alice.at(&allowed).login().await;
}

/// Another replica, which keeps the keys, runs for two minutes after a `jump` of a wall clock. No key is put into force that
/// verifiers have not fetched, and none is deleted whose tokens are alive.
async fn assert_no_key_ages_by(jump: impl AsyncFnOnce(&TestServer)) {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    server.pass(LEAD).await;
    let before = alice.login().await.access_token;
    server.auth.keys.rotate(Purpose::AccessToken).await.expect("rotated");
    server.catch_up().await;
    let fetched = jwks(&server).await;
    // It makes the next key, which is not in that set.
    let keeper = Setup::on(server.database_url.clone(), Clock::manual()).start().await;
    jump(&keeper).await;
    for _ in 0..2 {
        keeper.advance(MINUTE).await;
        keeper.auth.keys.look_after().await.expect("looked after");
    }
    server.catch_up().await;
    let is_fetched = is_signed(&alice.login().await.access_token, &fetched);
    // One that was running keeps what is deleted for a while.
    let is_good = alice.at(&server.replica().await).verify(&before).await.is_ok();
    assert_eq!((is_fetched, is_good), (true, true), "the key that signs, and a token of the one that signed before");
}

#[tokio::test]
async fn p2_v7_a_wall_clock_that_jumps_ahead_ages_no_key() {
    assert_no_key_ages_by(async |keeper| keeper.clock.set_wall_ahead(YEAR)).await;
}

/// A failover to a machine whose clock is ahead looks like this: the database says that a year has passed.
#[tokio::test]
async fn p2_v7_a_database_whose_clock_jumps_ahead_ages_no_key() {
    let jump = async |keeper: &TestServer| {
        let mut connection = PgConnection::connect(&keeper.database_url).await.expect("connect");
        let moved = "UPDATE service_clock SET moved_at = moved_at - interval '1 year'";
        connection.execute(moved).await.expect(moved);
    };
    assert_no_key_ages_by(jump).await;
}
