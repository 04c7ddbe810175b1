//! Failover to a real standby that was behind: a promotion, and commits that are lost.

use std::time::Duration;

use countersign::grpc::v1::revoke_request::Target;
use countersign_token::clock::Clock;
use tokio::time::timeout;

use crate::support::{Pair, Proxy, Replication, Setup, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_a_promoted_standby_has_lost_stays_dead_and_is_put_back() {
    let mut pair = Pair::start(Replication::Asynchronous).await;
    let proxy = Proxy::before(&pair.primary_url());
    let clock = Clock::manual();
    let server = Setup::on(proxy.url(), clock.clone()).start().await;
    let other = Setup::on(proxy.url(), clock.clone()).start().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let (lost, kept, of_bob) = (alice.login().await, alice.login().await, bob.login().await);
    pair.until_standby_says("SELECT count(*) FROM refresh_tokens", |sessions| sessions == 3).await;

    pair.cut_replication().await;
    let revoked = alice.revoke(Target::SessionId(lost.session_id.clone())).await.expect("revoked");
    assert!(revoked.confirmed);
    bob.revoke(Target::UserId(bob.id.clone())).await.expect("revoked");
    proxy.cut();
    pair.fail_over().await;
    proxy.redirect(&pair.standby_url());
    proxy.mend();

    for replica in [&server, &other] {
        replica.catch_up().await;
        for (user, tokens) in [(&alice, &lost), (&bob, &of_bob)] {
            let user = user.at(replica);
            assert_eq!(refusal(user.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
            assert_eq!(refusal(user.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
        }
        alice.at(replica).verify(&kept.access_token).await.expect("it was not lost");
    }
    // One that has the new primary's log alone.
    let later = Setup::on(pair.standby_url(), clock).start().await;
    for (user, tokens) in [(&alice, &lost), (&bob, &of_bob)] {
        assert_eq!(refusal(user.at(&later).verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
    }
    alice.at(&later).rotate(&kept.refresh_token).await;
    let revoke = async || alice.revoke(Target::SessionId(kept.session_id.clone())).await.expect("revoked");
    assert_eq!(revoke().await.sessions_revoked, 1, "and all goes on");
    // Not at once: somebody might be fresh from the old primary, and on no list of the new one.
    let confirmed = async {
        while !revoke().await.confirmed {
            for replica in [&server, &other, &later] {
                replica.advance(Duration::from_secs(1)).await;
            }
        }
    };
    timeout(Duration::from_secs(60), confirmed).await.expect("in time");
    for server in [server, other, later] {
        server.stop().await.expect("stopped");
    }
}
