//! Connections that lead to a server which is not the primary any more: once they are retired, none is used again.

use std::time::Duration;

use countersign::{
    error::Error,
    store::{Conn, PreparedConn, Store, StoreSettings, replicas},
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{Pair, Proxy, Replication};

/// A store behind a proxy that leads to the old primary, and a new primary whose list has a replica on it.
async fn split() -> (Pair, Proxy, Store) {
    let pair = Pair::start(Replication::Asynchronous).await;
    let proxy = Proxy::before(&pair.primary_url());
    let settings = StoreSettings { url: proxy.url(), connections: 4, deadline: Duration::from_secs(60) };
    let store = Store::new(&settings).expect("settings");
    pair.promote().await;
    let mut connection = PgConnection::connect(&pair.standby_url()).await.expect("the new primary");
    let replica = "INSERT INTO replicas (id, applied_seq, beats, max_staleness_ms) VALUES ('00000000-0000-4000-8000-000000000000', 0, 1, 1)";
    connection.execute(replica).await.expect("inserted");
    (pair, proxy, store)
}

/// Whether the connection leads to the new primary.
async fn is_new(conn: &mut Conn) -> bool {
    !replicas::list(conn, &[]).await.expect("listed").replicas.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_that_was_retired_is_used_again() {
    let (pair, proxy, store) = split().await;
    let (mut lane, mut own) = (PreparedConn::default(), store.connect().await.expect("connected"));
    let (mut held, mut given_back) = (store.acquire().await.expect("one"), store.acquire().await.expect("another"));
    let mut listener = store.listen().await.expect("listening");
    for conn in [&mut held, &mut given_back, &mut own, store.prepared(&mut lane).await.expect("entered")] {
        assert!(!is_new(conn).await);
    }
    drop(given_back);
    proxy.redirect(&pair.standby_url());
    assert!(!is_new(store.prepared(&mut lane).await.expect("entered")).await, "they lead where they led");

    store.retire_connections();
    for conn in [&mut held, &mut own] {
        assert!(conn.is_retired());
        assert!(matches!(replicas::list(conn, &[]).await, Err(Error::DatabaseUnavailable(_))));
    }
    drop(held);
    assert!(timeout(Duration::from_secs(60), listener.recv(Uuid::nil())).await.expect("it is told").is_err());
    let mut pooled = Vec::new();
    for _ in 0..4 {
        let mut conn = store.acquire().await.expect("acquired");
        assert!(is_new(&mut conn).await);
        pooled.push(conn);
    }
    assert!(is_new(store.prepared(&mut lane).await.expect("entered")).await);
    assert!(is_new(&mut store.connect().await.expect("connected")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_on_its_way_is_retired_too() {
    let (pair, proxy, store) = split().await;
    proxy.freeze();
    let acquiring = tokio::spawn({
        let store = store.clone();
        async move { store.acquire().await }
    });
    proxy.until_accepted(1).await;
    proxy.redirect(&pair.standby_url());
    store.retire_connections();
    proxy.mend();
    let mut conn = acquiring.await.expect("it ends").expect("acquired");
    assert!(is_new(&mut conn).await);
}
