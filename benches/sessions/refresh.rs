//! Refreshes a second by concurrent callers: by statements that are shared, beside the same service with one statement for
//! each on pooled connections, and beside bare commits of the same Postgres. Through the library, without gRPC.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    auth::{
        Auth,
        refresh::{Delivery, RefreshRequest},
        tokens::TokenPair,
    },
    domain::{caller_policy::RefreshingCaller, policy::Notifications, rotation::GenerationChange},
    store::sessions::{self, RotationUpdate},
};
use countersign_token::ids::SessionId;
use tokio::task::JoinHandle;

use crate::{
    database::{Database, commits_a_second, execute, heap_only_updates, sessions},
    figures::Percentiles,
    replica::{Replica, USERNAME},
};

const CALLERS: [usize; 3] = [1, 64, 256];
const ROUNDS: usize = 3;
/// For how long each figure is measured in each round.
const TURN: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(14 * 86_400);

/// How a refresh reaches the database.
#[derive(Clone, Copy)]
enum Way {
    /// By a statement of its own on a connection of the pool.
    Own,
    /// As the service does it.
    Shared,
}

/// What a turn of a way has shown.
#[derive(Clone, Copy)]
struct Figure {
    a_second: f64,
    latency: Percentiles,
    /// Of the database, for each refresh, in microseconds.
    database: f64,
}

pub(crate) async fn measure(database: &Database) {
    let url = database.create("refresh").await;
    let server = Replica::start(&url, Notifications::On).await;
    server.create_user().await;
    let ids = sessions(&url, USERNAME, 100_000).await;
    let mut tokens: Vec<TokenPair> = Vec::new();
    // Spread over the table's pages, as sessions that are refreshed at the same moment are.
    for id in ids.into_iter().step_by(390).take(CALLERS[CALLERS.len() - 1]) {
        tokens.push(first(&server.auth, id).await);
    }
    report(database, &url, &server.auth, tokens, "as it is").await;
    let (updates, heap_only) = heap_only_updates(&url).await;
    println!("\n{updates} updates of refresh_tokens, {heap_only} of them heap-only");
    server.stop().await;
    execute(&url, "ALTER SYSTEM SET commit_delay = 1000").await;
    execute(&url, "ALTER SYSTEM SET commit_siblings = 0").await;
    execute(&url, "SELECT pg_reload_conf()").await;
    let server = Replica::start(&url, Notifications::On).await;
    let mut tokens: Vec<TokenPair> = Vec::new();
    for id in sessions(&url, USERNAME, 100_000).await.into_iter().step_by(390).take(CALLERS[CALLERS.len() - 1]) {
        tokens.push(first(&server.auth, id).await);
    }
    report(database, &url, &server.auth, tokens, "a commit takes 1 ms longer").await;
    server.stop().await;
    execute(&url, "ALTER SYSTEM RESET ALL").await;
    execute(&url, "SELECT pg_reload_conf()").await;
}

async fn report(database: &Database, url: &str, auth: &Arc<Auth>, mut tokens: Vec<TokenPair>, disk: &str) {
    let (mut single, mut many) = (0.0_f64, 0.0_f64);
    let mut best: [[Option<Figure>; 2]; CALLERS.len()] = [[None; 2]; CALLERS.len()];
    for _ in 0..ROUNDS {
        single = single.max(commits_a_second(url, 1, TURN).await);
        many = many.max(commits_a_second(url, 64, TURN).await);
        for (place, callers) in CALLERS.into_iter().enumerate() {
            for (way, best) in [Way::Own, Way::Shared].into_iter().zip(&mut best[place]) {
                let figure = turn(database, auth, &mut tokens, callers, way).await;
                if best.is_none_or(|best| best.a_second < figure.a_second) {
                    *best = Some(figure);
                }
            }
        }
    }
    println!("\n# Refreshes a second, {disk} (highest of {ROUNDS} rounds of {} s)\n", TURN.as_secs());
    println!("Bare UPDATE and commit: {single:.0} on 1 connection, {many:.0} on 64.\n");
    println!(
        "| callers | one each | shared | shared to one each | to bare | p50, p99 of shared | database CPU: one each, shared |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (callers, figures) in CALLERS.into_iter().zip(best) {
        let [own, shared] = figures.map(|figure| figure.expect("measured"));
        println!(
            "| {callers} | {:.0} | {:.0} | {:.2} | {:.2} | {} | {:.1}, {:.1} us |",
            own.a_second,
            shared.a_second,
            shared.a_second / own.a_second,
            shared.a_second / if callers == 1 { single } else { many },
            shared.latency,
            own.database,
            shared.database,
        );
    }
}

/// The tokens of a session that has none yet.
async fn first(auth: &Arc<Auth>, id: SessionId) -> TokenPair {
    let mut conn = auth.base.store.acquire().await.expect("connected");
    let session = sessions::find_all(&mut conn, &[id]).await.expect("read").remove(0);
    auth.token_pair(&session, auth.base.clock.now()).expect("signed")
}

async fn turn(database: &Database, auth: &Arc<Auth>, tokens: &mut Vec<TokenPair>, callers: usize, way: Way) -> Figure {
    let (begun, cpu) = (Instant::now(), database.cpu());
    let tasks: Vec<JoinHandle<(TokenPair, Vec<Duration>)>> = tokens
        .drain(..callers)
        .map(|mut pair| {
            let auth = Arc::clone(auth);
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while begun.elapsed() < TURN {
                    let asked = Instant::now();
                    pair = match way {
                        Way::Own => alone(&auth, &pair).await,
                        Way::Shared => shared(&auth, pair).await,
                    };
                    taken.push(asked.elapsed());
                }
                (pair, taken)
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let (pair, taken) = task.await.expect("no panic");
        tokens.push(pair);
        all.extend(taken);
    }
    let count = all.len() as f64;
    Figure {
        a_second: count / begun.elapsed().as_secs_f64(),
        latency: Percentiles::of(all),
        database: (database.cpu() - cpu).as_secs_f64() * 1e6 / count,
    }
}

async fn shared(auth: &Arc<Auth>, pair: TokenPair) -> TokenPair {
    let request = RefreshRequest {
        refresh_token: pair.refresh_token,
        access_token: None,
        client: None,
        caller: RefreshingCaller::default(),
        delivery: Delivery::Answer,
    };
    auth.refresh(request).await.expect("refreshed").tokens
}

/// The same work with a statement of its own.
async fn alone(auth: &Auth, pair: &TokenPair) -> TokenPair {
    let read = auth.read_refresh_token(pair.refresh_token.expose()).await.expect("read").expect("ours");
    let now = auth.base.clock.now();
    let step = GenerationChange::rotation(read.generation).expect("below the end");
    let advance = RotationUpdate {
        session_id: read.session_id,
        step,
        now,
        idle_expires_at: now + IDLE,
        client: None,
        only_of: None,
    };
    let mut conn = auth.base.store.acquire().await.expect("connected");
    let session = sessions::advance(&mut conn, &advance).await.expect("tried").expect("possible");
    drop(conn);
    auth.token_pair(&session, now).expect("signed")
}
