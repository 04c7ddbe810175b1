//! The start of a replica when the log holds a million entries that nobody may forget yet.

use std::time::Duration;

use countersign::config::Hints;
use tokio::time::timeout;

use crate::{
    database::{Database, execute},
    figures::{Peak, mebibytes, millis, resident},
    replica::{Replica, default_deadline},
};

const ENTRIES: usize = 1_000_000;
const LONG: Duration = Duration::from_secs(30);
/// After so long it is not expected any more.
const GIVEN_UP: Duration = Duration::from_secs(30);

pub async fn measure(database: &Database) {
    let url = database.create("start").await;
    let empty = Replica::launch(&url, Hints::On, LONG).await;
    let nothing = empty.fresh().await;
    empty.stop().await;
    fill(&url).await;
    println!("\n# From Server::serve to the first fresh state\n");
    println!("| log | deadline | ms | MiB after | MiB at most |\n| --- | --- | ---: | ---: | ---: |");
    println!("| empty | {LONG:?} | {:.1} | | |", millis(nothing));
    for deadline in [LONG, LONG, LONG, default_deadline()] {
        let before = resident();
        let peak = Peak::watch();
        let replica = Replica::launch(&url, Hints::On, deadline).await;
        let outcome = timeout(GIVEN_UP, replica.fresh()).await;
        let (after, most) = (resident().saturating_sub(before), peak.end().saturating_sub(before));
        let took = outcome.map_or_else(|_| format!("not within {GIVEN_UP:?}"), |took| format!("{:.0}", millis(took)));
        println!("| 1M entries | {deadline:?} | {took} | {:.0} | {:.0} |", mebibytes(after), mebibytes(most));
        replica.stop().await;
    }
    execute(&url, "TRUNCATE revocations").await;
}

async fn fill(url: &str) {
    let rows = format!(
        "INSERT INTO revocations (seq, id, kind, subject, expires_at, revoked_at, reason) \
         SELECT head.seq + i, gen_random_uuid(), 'session', gen_random_uuid(), now() + interval '3 hours', now(), 'revoked' \
         FROM revocation_head AS head, generate_series(1, {ENTRIES}) AS i"
    );
    execute(url, &rows).await;
    execute(url, &format!("UPDATE revocation_head SET seq = seq + {ENTRIES}")).await;
    execute(url, "VACUUM ANALYZE revocations").await;
    execute(url, "CHECKPOINT").await;
}
