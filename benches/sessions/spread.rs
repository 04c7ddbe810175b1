//! How soon after a Revoke's commit the other replica refuses, with notifications and without; and what a Revoke takes, alone and
//! with its confirmation, beside one commit.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use countersign::{
    auth::{Auth, revoke::Target},
    domain::policy::Notifications,
};
use countersign_token::{ids::SessionId, verifier::Requirements};
use tokio::{sync::oneshot, time::sleep};

use crate::{
    database::{Committer, Database, sessions},
    figures::Percentiles,
    replica::{Replica, USERNAME},
};

const REVOCATIONS: u64 = 300;
/// Samples of each kind between two of another kind, so that all see the same machine.
const BLOCK: usize = 25;
const BLOCKS: usize = 16;
const WITHIN: Duration = Duration::from_secs(5);
/// The pause between two looks of whoever watches for the refusal. It leaves the core to those who work.
const LOOK: Duration = Duration::from_micros(20);

pub(crate) async fn measure(database: &Database) {
    let url = database.create("spread").await;
    let mut notified = String::new();
    for notifications in [Notifications::On, Notifications::Off] {
        let (here, there) = (Replica::start(&url, notifications).await, Replica::start(&url, notifications).await);
        if notifications == Notifications::On {
            here.create_user().await;
            notified = refusals(&here, &there).await.to_string();
            durations(&url, &here).await;
        } else {
            let polled = refusals(&here, &there).await;
            println!("\n# From a Revoke's commit to the other replica's refusal ({REVOCATIONS} revocations)\n");
            println!("| notifications | time |\n| --- | --- |\n| on | {notified} |\n| off | {polled} |");
        }
        here.stop().await;
        there.stop().await;
    }
}

async fn refusals(here: &Replica, there: &Replica) -> Percentiles {
    let mut tokens = Vec::new();
    for _ in 0..REVOCATIONS {
        tokens.push(here.login().await);
    }
    let mut samples = Vec::new();
    for (place, pair) in (0..).zip(tokens) {
        // Any part of the pause between two polls may have passed.
        sleep(Duration::from_millis(50 + place * 37 % 101)).await;
        let token = pair.access_token.expose().to_owned();
        let (first, other) = (Arc::clone(&here.auth), Arc::clone(&there.auth));
        first.verify(&token, Requirements::default()).expect("a live session");
        other.verify(&token, Requirements::default()).expect("a live session");
        let (tell, told) = oneshot::channel();
        thread::spawn(move || tell.send(watch(&first, &other, &token)));
        let auth = Arc::clone(&here.auth);
        let revoking = tokio::spawn(async move { auth.revoke(Target::Session(pair.session_id)).await });
        revoking.await.expect("no panic").expect("revoked");
        samples.push(told.await.expect("no panic"));
    }
    Percentiles::of(samples)
}

/// The time from the refusal of `first` to that of `other`; nothing if `other` comes before.
fn watch(first: &Auth, other: &Auth, token: &str) -> Duration {
    let refused = |auth: &Auth| {
        while auth.verify(token, Requirements::default()).is_ok() {
            thread::sleep(LOOK);
        }
        Instant::now()
    };
    let committed = refused(first);
    refused(other).saturating_duration_since(committed)
}

/// One caller.
async fn durations(url: &str, here: &Replica) {
    let count = i64::try_from(2 * BLOCK * BLOCKS).expect("small");
    let ids = sessions(url, USERNAME, count).await;
    let (committer, auth) = (Committer::connect(url, 1).await, Arc::clone(&here.auth));
    // In a task, as a server's work is: the thread that blocks on all this is woken by way of another.
    let [commits, alone, confirmed] = tokio::spawn(in_turns(committer, auth, ids)).await.expect("no panic");
    let commit = Percentiles::of(commits);
    println!("\n# One caller after another ({} of each)\n", BLOCK * BLOCKS);
    println!("| what | time | to one commit (p50 / p99) |\n| --- | --- | ---: |");
    println!("| UPDATE of one row and commit | {commit} | 1 |");
    for (name, samples) in [("Revoke", alone), ("Revoke, confirmed by both replicas", confirmed)] {
        let figures = Percentiles::of(samples);
        println!("| {name} | {figures} | {} |", figures.ratio(commit));
    }
}

async fn in_turns(mut committer: Committer, auth: Arc<Auth>, ids: Vec<SessionId>) -> [Vec<Duration>; 3] {
    let mut ids = ids.into_iter();
    let [mut commits, mut alone, mut confirmed] = [const { Vec::new() }; 3];
    for _ in 0..BLOCKS {
        for _ in 0..BLOCK {
            let begun = Instant::now();
            committer.commit().await;
            commits.push(begun.elapsed());
        }
        for id in ids.by_ref().take(BLOCK) {
            alone.push(revoke(&auth, id, None).await);
        }
        for id in ids.by_ref().take(BLOCK) {
            confirmed.push(revoke(&auth, id, Some(WITHIN)).await);
        }
    }
    [commits, alone, confirmed]
}

async fn revoke(auth: &Arc<Auth>, id: SessionId, confirm: Option<Duration>) -> Duration {
    let begun = Instant::now();
    let revoked = auth.revoke(Target::Session(id)).await.expect("revoked");
    assert_eq!(revoked.sessions, 1);
    if let Some(wait) = confirm {
        assert!(auth.base.log.confirm(&revoked.committed, wait).await.confirmed, "not confirmed");
    }
    begun.elapsed()
}
