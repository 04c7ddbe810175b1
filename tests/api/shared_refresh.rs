//! Refreshes that share a statement: each gets its own answer, and none loses by the others.

use std::time::Duration;

use countersign::grpc::v1::{RefreshResponse, TokenPair, revoke_request::Target};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    task::{JoinHandle, yield_now},
    time::timeout,
};
use tonic::Status;

use crate::support::{Proxy, Setup, TestServer, User, refusal};

type Refreshing = JoinHandle<Result<RefreshResponse, Status>>;

/// A replica behind a proxy, and another one by which a test prepares what it needs: the lanes of the first one connect when
/// they are used first.
async fn replicas(deadline: Duration) -> (TestServer, Proxy, TestServer) {
    let mut setup = Setup::new().await;
    let (url, clock) = (setup.database_url.clone(), setup.clock.clone());
    let proxy = Proxy::before(&url);
    (setup.database_url, setup.database_deadline) = (proxy.url(), deadline);
    (setup.start().await, proxy, Setup::on(url, clock).start().await)
}

fn refresh(user: &User, tokens: &TokenPair) -> Refreshing {
    let (user, token) = (user.clone(), tokens.refresh_token.clone());
    tokio::spawn(async move { user.refresh(&token).await })
}

async fn sessions(user: &User, count: usize) -> Vec<TokenPair> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(user.login().await);
    }
    sessions
}

async fn until(what: impl Fn() -> bool) {
    let seen = async {
        while !what() {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), seen).await.expect("it comes to that");
}

/// Waits until so many refreshes wait for a statement.
async fn queued(server: &TestServer, count: usize) {
    until(|| server.auth.sessions.rotations().len() == count).await;
}

/// Refreshes that keep all lanes busy until the proxy is mended.
async fn occupy(server: &TestServer, proxy: &Proxy, user: &User) -> Vec<Refreshing> {
    let rotations = server.auth.sessions.rotations();
    let busy = sessions(user, rotations.free_lanes()).await;
    proxy.freeze();
    let mut refreshing = Vec::new();
    for tokens in &busy {
        // One by one: two that come together would share a lane.
        let free = rotations.free_lanes() - 1;
        refreshing.push(refresh(&user.at(server), tokens));
        until(|| rotations.free_lanes() == free && rotations.is_empty()).await;
    }
    refreshing
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn p2_refreshes_that_share_a_statement_each_get_their_own_answer() {
    let (server, proxy, other) = replicas(LONG).await;
    let alice = other.user("alice").await;
    let good = sessions(&alice, 20).await;
    let [revoked, replayed, twice] = [alice.login().await, alice.login().await, alice.login().await];
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    let successor = alice.rotate(&replayed.refresh_token).await;
    let busy = occupy(&server, &proxy, &alice).await;
    let alice = alice.at(&server);
    let refreshing: Vec<_> = good.iter().map(|tokens| refresh(&alice, tokens)).collect();
    let others = [&revoked, &replayed, &twice, &twice].map(|tokens| refresh(&alice, tokens));
    queued(&server, 24).await;
    proxy.mend();
    for answer in busy {
        answer.await.expect("joined").expect("refreshed");
    }
    for (before, answer) in good.iter().zip(refreshing) {
        let after = answer.await.expect("joined").expect("refreshed").tokens.expect("tokens");
        assert_eq!(after.session_id, before.session_id);
        alice.rotate(&after.refresh_token).await;
    }
    let [revoked, replay, one, other] = others;
    assert_eq!(refusal(revoked.await.expect("joined")).1, "REFRESH_TOKEN_INVALID");
    let replay = replay.await.expect("joined").expect("replayed");
    assert!(replay.replayed);
    assert_eq!(replay.tokens.expect("tokens").refresh_token, successor.refresh_token);
    let [one, other] = [one, other].map(|answer| async { answer.await.expect("joined").expect("refreshed") });
    let (one, other) = (one.await, other.await);
    assert_ne!(one.replayed, other.replayed, "one was faster");
    assert_eq!(one.tokens.expect("tokens").refresh_token, other.tokens.expect("tokens").refresh_token);
}

/// Both are of one session, and one of them is stolen.
#[tokio::test(flavor = "multi_thread")]
async fn r31_an_old_token_next_to_the_current_one_does_not_get_its_answer() {
    let (server, proxy, other) = replicas(LONG).await;
    let alice = other.user("alice").await;
    let old = alice.login().await;
    let next = alice.rotate(&old.refresh_token).await;
    let current = alice.rotate(&next.refresh_token).await;
    let busy = occupy(&server, &proxy, &alice).await;
    let alice = alice.at(&server);
    let stolen = refresh(&alice, &old);
    queued(&server, 1).await;
    let owned = refresh(&alice, &current);
    queued(&server, 2).await;
    proxy.mend();
    for answer in busy {
        answer.await.expect("joined").expect("refreshed");
    }
    assert_eq!(refusal(stolen.await.expect("joined")).1, "REFRESH_TOKEN_REUSED");
    // Whether it came first or not, the session has ended.
    drop(owned.await.expect("joined"));
    assert_eq!(refusal(alice.refresh(&current.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn refreshes_that_wait_for_a_statement_go_with_the_next_all_together() {
    let (server, proxy, other) = replicas(LONG).await;
    let alice = other.user("alice").await;
    let waiting = sessions(&alice, 30).await;
    let busy = occupy(&server, &proxy, &alice).await;
    let refreshing: Vec<_> = waiting.iter().map(|tokens| refresh(&alice.at(&server), tokens)).collect();
    queued(&server, 30).await;
    proxy.mend();
    for answer in busy.into_iter().chain(refreshing) {
        answer.await.expect("joined").expect("refreshed");
    }
    // Rows that one transaction has written have one xmin.
    let shared = "SELECT count(DISTINCT xmin::text) FROM refresh_tokens WHERE generation = 2";
    let mut connection = PgConnection::connect(&other.database_url).await.expect("connect");
    let transactions: i64 = sqlx::query_scalar(shared).fetch_one(&mut connection).await.expect("counted");
    assert_eq!(transactions, 2 + 1);
}

/// Alone, and in a batch with others.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_session_whose_row_somebody_holds_holds_up_no_other() {
    let (server, proxy, other) = replicas(LONG).await;
    let alice = other.user("alice").await;
    let (held, others) = (alice.login().await, sessions(&alice, 10).await);
    let mut holder = PgConnection::connect(&other.database_url).await.expect("connect");
    holder.execute("BEGIN").await.expect("begun");
    let lock = sqlx::query("SELECT FROM refresh_tokens WHERE session_id = $1::uuid FOR UPDATE");
    lock.bind(&held.session_id).execute(&mut holder).await.expect("locked");
    let busy = occupy(&server, &proxy, &alice).await;
    let alice = alice.at(&server);
    let waits = refresh(&alice, &held);
    let refreshing: Vec<_> = others.iter().map(|tokens| refresh(&alice, tokens)).collect();
    queued(&server, 11).await;
    proxy.mend();
    let mut rotated = Vec::new();
    for answer in busy.into_iter().chain(refreshing) {
        rotated.push(answer.await.expect("joined").expect("refreshed").tokens.expect("tokens"));
    }
    let also_waits = refresh(&alice, &held);
    for tokens in &rotated {
        alice.rotate(&tokens.refresh_token).await;
    }
    assert!(!waits.is_finished() && !also_waits.is_finished());
    holder.execute("ROLLBACK").await.expect("released");
    let (one, other) = (waits.await.expect("joined"), also_waits.await.expect("joined"));
    assert_ne!(one.expect("refreshed").replayed, other.expect("refreshed").replayed, "one was faster");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_refreshes_that_wait_in_an_outage_are_told_so_and_lose_nothing() {
    let (server, proxy, other) = replicas(Duration::from_secs(2)).await;
    let alice = other.user("alice").await;
    let waiting = sessions(&alice, 10).await;
    let busy = occupy(&server, &proxy, &alice).await;
    let alice = alice.at(&server);
    let refreshing: Vec<_> = waiting.iter().map(|tokens| refresh(&alice, tokens)).collect();
    queued(&server, 10).await;
    proxy.cut();
    for answer in busy.into_iter().chain(refreshing) {
        assert_eq!(refusal(answer.await.expect("joined")).1, "DATABASE_UNAVAILABLE");
    }
    proxy.mend();
    for tokens in &waiting {
        alice.rotate(&tokens.refresh_token).await;
    }
}
