//! Several hosts: the one that accepts writes is found, and again after a failover.

use std::time::Duration;

use countersign::{
    error::Error,
    grpc::v1::revoke_request::Target,
    store::{Store, StoreSettings},
};
use countersign_token::clock::Clock;
use tokio::{net::UnixListener, time::timeout};
use tonic::Status;

use crate::support::{Pair, Replication, Setup};

/// One URL for several sockets.
fn listed(urls: &[String], parameters: &str) -> String {
    let sockets: Vec<&str> = urls.iter().filter_map(|url| url.split_once("?host=")?.1.split('&').next()).collect();
    format!("postgres://countersign@localhost/countersign?host={}&sslmode=disable{parameters}", sockets.join(","))
}

fn store(url: String) -> Store {
    let settings = StoreSettings { url, connections: 2, deadline: Duration::from_secs(20) };
    Store::new(&settings).expect("settings")
}

/// What it answers once the service has found its database again.
async fn soon<T>(call: impl AsyncFn() -> Result<T, Status>) -> T {
    let answered = async {
        loop {
            match call().await {
                Ok(answer) => return answer,
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
            }
        }
    };
    timeout(Duration::from_secs(60), answered).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_found_behind_a_standby_and_again_after_a_failover() {
    let mut pair = Pair::start(Replication::Synchronous).await;
    let url = listed(&[pair.standby_url(), pair.primary_url()], "");
    let server = Setup::on(url, Clock::manual()).start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;

    pair.fail_over().await;
    let renewed = soon(async || alice.refresh(&tokens.refresh_token).await).await.tokens.expect("tokens");
    server.catch_up().await;
    alice.verify(&renewed.access_token).await.expect("nobody was logged out");
    let target = Target::SessionId(tokens.session_id.clone());
    assert_eq!(soon(async || alice.revoke(target.clone()).await).await.sessions_revoked, 1);
    server.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_became_read_only_is_left_for_the_other_one() {
    let pair = Pair::start(Replication::Asynchronous).await;
    let url = listed(&[pair.primary_url(), pair.standby_url()], "");
    let server = Setup::on(url, Clock::manual()).start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    pair.until_standby_says("SELECT count(*) FROM refresh_tokens", |sessions| sessions == 1).await;

    pair.promote().await;
    pair.on_primary("ALTER SYSTEM SET default_transaction_read_only = on").await;
    pair.on_primary("SELECT pg_reload_conf()").await;
    soon(async || alice.refresh(&tokens.refresh_token).await).await;
    server.stop().await.expect("stopped");
    pair.until_standby_says("SELECT count(*) FROM refresh_tokens WHERE generation > 1", |rotated| rotated == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_does_not_eat_the_deadline() {
    let pair = Pair::start(Replication::Asynchronous).await;
    let dir = std::env::temp_dir().join(format!("cs-silent-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("created");
    let silent = UnixListener::bind(dir.join(".s.PGSQL.5432")).expect("bound");
    let silent_url = format!("postgres://x@localhost/x?host={}", dir.display());
    let store = store(listed(&[silent_url, pair.standby_url(), pair.primary_url()], "&target_session_attrs=primary"));
    assert_eq!(store.missing_migrations().await.expect("connected"), 0);
    store.acquire().await.expect("connected");
    drop(silent);
    std::fs::remove_dir_all(&dir).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_alone_is_an_outage_unless_any_server_will_do() {
    let pair = Pair::start(Replication::Asynchronous).await;
    for wanted in ["read-write", "primary"] {
        let url = listed(&[pair.standby_url()], &format!("&target_session_attrs={wanted}"));
        assert!(matches!(store(url).connect().await, Err(Error::DatabaseUnavailable(_))), "{wanted}");
    }
    store(listed(&[pair.standby_url()], "")).connect().await.expect("any");
}
