//! The start of a replica when the log holds a million entries that nobody may forget yet.

use std::time::Duration;

use countersign::domain::policy::Notifications;
use tokio::time::timeout;

use crate::{
    database::{Database, execute},
    figures::{Peak, mebibytes, millis, resident},
    replica::{Replica, default_deadline},
};

const ENTRIES: usize = 1_000_000;
const MILLIONS: usize = 3;
const LONG: Duration = Duration::from_secs(30);
/// After so long it is not expected any more.
const GIVEN_UP: Duration = Duration::from_secs(20);

pub(crate) async fn measure(database: &Database) {
    let url = database.create("start").await;
    let empty = Replica::launch(&url, Notifications::On, LONG).await;
    let nothing = empty.fresh().await;
    empty.stop().await;
    println!("\n# From Server::serve to the first fresh state\n");
    println!("| entries | deadline | ms | MiB after | MiB at most |\n| --- | --- | ---: | ---: | ---: |");
    println!("| none | {LONG:?} | {:.1} | | |", millis(nothing));
    for millions in 1..=MILLIONS {
        fill(&url).await;
        for deadline in [LONG, default_deadline(), LONG, default_deadline()] {
            println!("| {millions}M | {deadline:?} | {} |", start(&url, deadline).await);
        }
    }
}

async fn start(url: &str, deadline: Duration) -> String {
    let before = resident();
    let peak = Peak::watch();
    let replica = Replica::launch(url, Notifications::On, deadline).await;
    let outcome = timeout(GIVEN_UP, replica.fresh()).await;
    let (after, most) = (resident().saturating_sub(before), peak.end().saturating_sub(before));
    replica.stop().await;
    let took = outcome.map_or_else(|_| format!("not within {GIVEN_UP:?}"), |took| format!("{:.0}", millis(took)));
    format!("{took} | {:.0} | {:.0}", mebibytes(after), mebibytes(most))
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
