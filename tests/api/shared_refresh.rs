//! Refreshes that share a statement: each gets its own answer, and none loses by the others.

use std::time::Duration;

use countersign::grpc::v1::{RefreshResponse, TokenPair, revoke_request::Target};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    task::{JoinHandle, yield_now},
    time::timeout,
};
use tonic::Status;

use crate::support::{Proxy, Setup, TestServer, User, refusal, so_many_wait};

type Refreshing = JoinHandle<Result<RefreshResponse, Status>>;

const LANES: i64 = 2;

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

/// Waits until so many refreshes wait for a statement.
async fn queued(server: &TestServer, count: usize) {
    let full = async {
        while server.auth.accounts.rotations.len() < count {
            yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), full).await.expect("they queue up");
}

/// Refreshes that keep all lanes busy until what is given is rolled back.
async fn occupy(server: &TestServer, url: &str, user: &User) -> (PgConnection, Vec<Refreshing>) {
    let busy = sessions(user, 2).await;
    let mut blocker = PgConnection::connect(url).await.expect("connect");
    blocker.execute("BEGIN").await.expect("begun");
    for tokens in &busy {
        let lock = sqlx::query("SELECT FROM refresh_tokens WHERE session_id = $1::uuid FOR UPDATE");
        lock.bind(&tokens.session_id).execute(&mut blocker).await.expect("locked");
    }
    let refreshing = busy.iter().map(|tokens| refresh(user, tokens)).collect();
    so_many_wait(url, LANES).await;
    assert!(server.auth.accounts.rotations.is_empty(), "these two have lanes of their own");
    (blocker, refreshing)
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_refreshes_that_share_a_statement_each_get_their_own_answer() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let good = sessions(&alice, 20).await;
    let [revoked, replayed, twice] = [alice.login().await, alice.login().await, alice.login().await];
    alice.revoke(Target::SessionId(revoked.session_id.clone())).await.expect("revoked");
    let successor = alice.rotate(&replayed.refresh_token).await;
    let (mut blocker, busy) = occupy(&server, &server.database_url, &alice).await;
    let refreshing: Vec<_> = good.iter().map(|tokens| refresh(&alice, tokens)).collect();
    let others = [&revoked, &replayed, &twice, &twice].map(|tokens| refresh(&alice, tokens));
    queued(&server, 24).await;
    blocker.execute("ROLLBACK").await.expect("released");
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
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let old = alice.login().await;
    let next = alice.rotate(&old.refresh_token).await;
    let current = alice.rotate(&next.refresh_token).await;
    let (mut blocker, busy) = occupy(&server, &server.database_url, &alice).await;
    let stolen = refresh(&alice, &old);
    queued(&server, 1).await;
    let owned = refresh(&alice, &current);
    queued(&server, 2).await;
    blocker.execute("ROLLBACK").await.expect("released");
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
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let waiting = sessions(&alice, 30).await;
    let (mut blocker, busy) = occupy(&server, &server.database_url, &alice).await;
    let refreshing: Vec<_> = waiting.iter().map(|tokens| refresh(&alice, tokens)).collect();
    queued(&server, 30).await;
    blocker.execute("ROLLBACK").await.expect("released");
    for answer in busy.into_iter().chain(refreshing) {
        answer.await.expect("joined").expect("refreshed");
    }
    // Rows that one transaction has written have one xmin.
    let shared = "SELECT count(DISTINCT xmin::text) FROM refresh_tokens WHERE generation = 2";
    let transactions: i64 = sqlx::query_scalar(shared).fetch_one(&mut blocker).await.expect("counted");
    assert_eq!(transactions, 2 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_refreshes_that_wait_in_an_outage_are_told_so_and_lose_nothing() {
    let mut setup = Setup::new().await;
    let url = setup.database_url.clone();
    let proxy = Proxy::before(&url);
    (setup.database_url, setup.database_deadline) = (proxy.url(), Duration::from_secs(2));
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let waiting = sessions(&alice, 10).await;
    let (mut blocker, busy) = occupy(&server, &url, &alice).await;
    let refreshing: Vec<_> = waiting.iter().map(|tokens| refresh(&alice, tokens)).collect();
    queued(&server, 10).await;
    proxy.cut();
    for answer in busy.into_iter().chain(refreshing) {
        assert_eq!(refusal(answer.await.expect("joined")).1, "DATABASE_UNAVAILABLE");
    }
    blocker.execute("ROLLBACK").await.expect("released");
    proxy.mend();
    for tokens in &waiting {
        alice.rotate(&tokens.refresh_token).await;
    }
}
