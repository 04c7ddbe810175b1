//! Notifications: a revocation wakes the followers of the other replicas, and nobody where there are none.

use std::time::Duration;

use countersign::grpc::v1::revoke_request::Target;
use sqlx::{Connection as _, PgConnection, postgres::PgListener};
use tokio::time::timeout;

use crate::support::{TestServer, User};

const CHANNEL: &str = "countersign_revocations";
/// Far more than the second that passes between two heartbeats of the replicas under test.
const AT_LAST: Duration = Duration::from_secs(30);

async fn listen(server: &TestServer) -> PgListener {
    let mut listener = PgListener::connect(&server.database_url).await.expect("connected");
    listener.listen(CHANNEL).await.expect("listening");
    listener
}

async fn next(listener: &mut PgListener) -> String {
    let heard = timeout(AT_LAST, listener.recv()).await.expect("in time");
    heard.expect("heard").payload().to_owned()
}

async fn run(server: &TestServer, statement: &'static str) {
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connected");
    sqlx::query(statement).execute(&mut connection).await.expect("done");
}

async fn end_a_session(user: &User) {
    let tokens = user.login().await;
    user.revoke(Target::SessionId(tokens.session_id)).await.expect("revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_wakes_the_followers_of_others_and_says_whose_it_is() {
    let servers = [TestServer::start().await];
    let [server] = &servers;
    let other = server.replica().await;
    let mut listener = listen(server).await;
    let alice = server.user("alice").await;
    for replica in [server, &other] {
        end_a_session(&alice.at(replica)).await;
        assert_eq!(next(&mut listener).await, replica.auth.base.log.replica().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_alone_notifies_nobody_until_another_has_come() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut listener = listen(&server).await;
    end_a_session(&alice).await;
    end_a_session(&alice).await;
    run(&server, "NOTIFY countersign_revocations, 'by the test'").await;
    assert_eq!(next(&mut listener).await, "by the test", "the first that was sent");
    let newcomer =
        "INSERT INTO replicas (id, applied_seq, beats, max_staleness_ms) VALUES (gen_random_uuid(), 0, 1, 1)";
    run(&server, newcomer).await;
    // Read after the commit: the list as it was known before had nobody else.
    end_a_session(&alice).await;
    assert_eq!(next(&mut listener).await, server.auth.base.log.replica().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_of_ones_own_wakes_nobody_and_that_of_another_does() {
    let server = TestServer::start().await;
    let own = server.auth.base.log.replica();
    let mut listener = server.auth.base.store.listen().await.expect("listening");
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connected");
    // By one statement, so that they arrive together.
    let both = sqlx::query("SELECT pg_notify($1, $2), pg_notify($1, '')").bind(CHANNEL).bind(own.to_string());
    both.execute(&mut connection).await.expect("sent");
    timeout(AT_LAST, listener.recv(own)).await.expect("in time").expect("heard");
    let second = tokio::select! {
        biased;
        heard = listener.recv(own) => Some(heard),
        () = std::future::ready(()) => None,
    };
    assert!(second.is_none(), "one of the two was its own");
}
