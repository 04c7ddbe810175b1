//! Logins a second by many callers, each with a user and an address of its own, beside bare hashes a second. The throttle
//! is on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bare::hashes_a_second,
    server::{Server, USERS, hash_threads, right},
};

const ROUNDS: usize = 5;
/// For how long each figure is measured in each round.
const TURN: Duration = Duration::from_secs(3);

/// Says how many hashes this machine makes in a second.
pub(crate) async fn measure(server: &Server) -> f64 {
    let (mut bare, mut logins) = (0.0_f64, 0.0_f64);
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let hashes = hashes_a_second(TURN);
        let opened = logins_a_second(server).await;
        ratios.push(opened / hashes);
        (bare, logins) = (bare.max(hashes), logins.max(opened));
    }
    ratios.sort_unstable_by(f64::total_cmp);
    println!("\n# A second (highest of {ROUNDS} rounds of {} s)\n", TURN.as_secs());
    println!("| what | a second | to bare hashes |\n| --- | ---: | ---: |");
    println!("| bare argon2id, {} threads | {bare:.1} | 1 |", hash_threads());
    println!("| Login, {USERS} callers | {logins:.1} | {:.2} |", logins / bare);
    println!("\nratios of the rounds: {:.2} to {:.2}", ratios[0], ratios[ROUNDS - 1]);
    bare
}

async fn logins_a_second(server: &Server) -> f64 {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..USERS)
        .map(|user| {
            let auth = Arc::clone(&server.auth);
            tokio::spawn(async move {
                let mut count = 0_u32;
                while begun.elapsed() < TURN {
                    auth.login(right(user)).await.expect("logged in");
                    count += 1;
                }
                count
            })
        })
        .collect();
    // What was under way at the end of the turn is waited for, and counted with its time.
    crate::figures::a_second(tasks, begun).await
}
