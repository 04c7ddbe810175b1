//! A primary whose commits wait for a standby: a wait that somebody cancels is answered with success by Postgres, and is
//! no success here.

use std::time::Duration;

use countersign::{
    domain::{replica::Report, revocation::Position},
    error::Error,
    grpc::v1::revoke_request::Target,
    store::{
        Store, StoreSettings,
        replicas::{self, Member},
    },
};
use countersign_token::clock::Clock;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{Pair, Replication, Setup, refusal};

/// No statement is given up in these stories by itself.
const DEADLINE: Duration = Duration::from_secs(300);

/// The commits that wait for the standby.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Cancels what waits for the standby, once.
async fn cancel_waits(pair: &Pair) {
    pair.on_primary("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_revoke_whose_wait_for_the_standby_was_cancelled_is_not_answered_with_success() {
    let mut pair = Pair::start(Replication::Synchronous).await;
    let mut setup = Setup::on(pair.primary_url(), Clock::manual());
    setup.database_deadline = DEADLINE;
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let target = Target::SessionId(tokens.session_id.clone());

    pair.stop_standby();
    let revoking = tokio::spawn({
        let (alice, target) = (alice.clone(), target.clone());
        async move { alice.revoke(target).await }
    });
    // Others of the service may wait too, and go on after the revocation's commit was seen.
    while !revoking.is_finished() {
        pair.until_primary_says(WAITING, |waiting| waiting > 0).await;
        cancel_waits(&pair).await;
    }
    assert_eq!(refusal(revoking.await.expect("it ends")).1, "DATABASE_UNAVAILABLE");

    pair.start_standby();
    let repeated = timeout(Duration::from_secs(60), alice.revoke(target)).await.expect("in time");
    assert_eq!(repeated.expect("all goes on").sessions_revoked, 0, "it was written, and nobody could rely on it");
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
    server.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_beat_whose_wait_for_the_standby_was_cancelled_is_none() {
    let mut pair = Pair::start(Replication::Synchronous).await;
    let settings = StoreSettings { url: pair.primary_url(), connections: 1, deadline: DEADLINE };
    let store = Store::new(&settings).expect("settings");
    let mut conn = store.connect().await.expect("connected");
    let member = Member { replica: Uuid::from_u128(1), max_staleness: Duration::from_secs(30) };
    let report = |count| Report { applied: Position::default(), count };
    replicas::heartbeat(&mut conn, member, report(1)).await.expect("the standby confirms");

    pair.stop_standby();
    let beating = tokio::spawn(async move { replicas::heartbeat(&mut conn, member, report(2)).await });
    pair.until_primary_says(WAITING, |waiting| waiting > 0).await;
    cancel_waits(&pair).await;
    assert!(matches!(beating.await.expect("it ends"), Err(Error::DatabaseUnavailable(_))));
}

/// A setting of the role or the database does not spare a commit its standby.
#[tokio::test(flavor = "multi_thread")]
async fn p1_a_revoke_waits_for_the_standby_whatever_the_database_is_set_to() {
    for lowered in ["off", "local"] {
        let mut pair = Pair::start(Replication::Synchronous).await;
        pair.on_primary(&format!("ALTER DATABASE countersign SET synchronous_commit = {lowered}")).await;
        let mut setup = Setup::on(pair.primary_url(), Clock::manual());
        setup.database_deadline = Duration::from_secs(1);
        let server = setup.start().await;
        let alice = server.user("alice").await;
        let tokens = alice.login().await;
        pair.stop_standby();
        let answer = alice.revoke(Target::SessionId(tokens.session_id)).await;
        assert_eq!(refusal(answer).1, "DATABASE_UNAVAILABLE", "{lowered}");
        server.stop().await.expect("stopped");
    }
}
