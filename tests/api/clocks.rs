//! Clocks that stand still or are wrong: what is known is as old as the larger of two clocks says, and a replica whose wall
//! clock is too far from the database's signs nothing (REQUIREMENTS V13).

use std::time::Duration;

use countersign_token::clock::Clock;
use tonic::Code;

use crate::support::{PASSWORD, Setup, TestServer, refusal};

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
