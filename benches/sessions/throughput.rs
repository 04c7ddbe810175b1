//! Revocations a second by concurrent callers, confirmed and not, beside bare commits of the same Postgres.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use countersign::{auth::revoke::Target, domain::policy::Notifications};
use countersign_token::ids::SessionId;

use crate::{
    database::{CONNECTIONS, Database, commits_a_second, sessions},
    figures,
    replica::{Replica, USERNAME},
};

const SESSIONS: i64 = 400_000;
const CALLERS: [usize; 3] = [1, 64, 256];
const ROUNDS: usize = 3;
/// For how long each figure is measured in each round.
const TURN: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(5);

/// What is left to revoke.
type Left = Arc<Mutex<Vec<SessionId>>>;

pub(crate) async fn measure(database: &Database) {
    let url = database.create("throughput").await;
    let (here, there) = (Replica::start(&url, Notifications::On).await, Replica::start(&url, Notifications::On).await);
    here.create_user().await;
    let left: Left = Arc::new(Mutex::new(sessions(&url, USERNAME, SESSIONS).await));
    let (mut single, mut many) = (0.0_f64, 0.0_f64);
    let mut best = [[0.0_f64; 2]; CALLERS.len()];
    for _ in 0..ROUNDS {
        single = single.max(commits_a_second(&url, 1, TURN).await);
        many = many.max(commits_a_second(&url, CONNECTIONS, TURN).await);
        for (place, callers) in CALLERS.into_iter().enumerate() {
            for (confirmed, figure) in [false, true].into_iter().zip(&mut best[place]) {
                *figure = figure.max(revocations_a_second(&here, &left, callers, confirmed).await);
            }
        }
    }
    let unused = left.lock().expect("no panic").len();
    here.stop().await;
    there.stop().await;
    println!("\n# A second (highest of {ROUNDS} rounds of {} s; {unused} sessions left)\n", TURN.as_secs());
    println!("| what | a second | to 1 connection | to {CONNECTIONS} connections |\n| --- | ---: | ---: | ---: |");
    let row = |name: String, figure: f64| {
        println!("| {name} | {figure:.0} | {:.2} | {:.2} |", figure / single, figure / many);
    };
    row("UPDATE and commit, 1 connection".to_owned(), single);
    row(format!("UPDATE and commit, {CONNECTIONS} connections"), many);
    for (callers, [plain, confirmed]) in CALLERS.into_iter().zip(best) {
        row(format!("Revoke, {callers} callers"), plain);
        row(format!("Revoke, confirmed, {callers} callers"), confirmed);
    }
}

async fn revocations_a_second(here: &Replica, left: &Left, callers: usize, confirmed: bool) -> f64 {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (auth, left) = (Arc::clone(&here.auth), Arc::clone(left));
            tokio::spawn(async move {
                let mut count = 0_u32;
                while begun.elapsed() < TURN {
                    let Some(id) = left.lock().expect("no panic").pop() else { break };
                    let revoked = auth.revoke(Target::Session(id)).await.expect("revoked");
                    assert_eq!(revoked.sessions, 1);
                    if confirmed {
                        assert!(auth.base.log.confirm(&revoked.committed, WITHIN).await.confirmed, "not confirmed");
                    }
                    count += 1;
                }
                count
            })
        })
        .collect();
    figures::a_second(tasks, begun).await
}
