//! Look-up in the index: empty, with one entry, and with a million. Every look-up asks for another session.

use std::{hint::black_box, time::Instant};

use countersign_token::{
    claims::Principal,
    clock::BootInstant,
    ids::{SessionId, UserId},
    index::{Index, Origin},
    revocation::{RETENTION, Revocation, Subject},
};
use time::OffsetDateTime;

use crate::figures::{mebibytes, resident};

const ENTRIES: usize = 1_000_000;
const ROUNDS: usize = 7;

pub(crate) fn measure() {
    let now = OffsetDateTime::now_utc();
    let dead: Vec<SessionId> = (0..ENTRIES).map(|_| SessionId::new(now)).collect();
    let live: Vec<SessionId> = (0..ENTRIES).map(|_| SessionId::new(now)).collect();
    let empty = Index::default();
    let one = filled(&dead[..1], now);
    let before = resident();
    let full = filled(&dead, now);
    let grown = resident() - before;
    let nothing = check(&empty, &live, true);
    println!("\n# Look-up in the index (ns, lowest of {ROUNDS} rounds of {ENTRIES})\n");
    println!("| index | ns | to empty | to one entry |\n| --- | ---: | ---: | ---: |");
    let single = check(&one, &live, true);
    let rows = [
        ("empty, miss", nothing),
        ("one entry, miss", single),
        ("1M entries, miss", check(&full, &live, true)),
        ("1M entries, hit", check(&full, &dead, false)),
    ];
    for (name, nanos) in rows {
        println!("| {name} | {nanos:.1} | {:.1} | {:.1} |", nanos / nothing, nanos / single);
    }
    let each = grown as f64 / ENTRIES as f64;
    println!("\nmemory of 1M entries: {:.1} MiB, {each:.0} bytes each", mebibytes(grown));
}

fn filled(sessions: &[SessionId], now: OffsetDateTime) -> Index {
    let mut index = Index::default();
    for id in sessions {
        let revocation = Revocation { subject: Subject::Session(*id), expires_at: now + RETENTION };
        index.apply(&revocation, Origin::Log, BootInstant::from_nanos(1));
    }
    index
}

/// Nanoseconds for one look-up.
fn check(index: &Index, sessions: &[SessionId], alive: bool) -> f64 {
    let now = OffsetDateTime::now_utc();
    let mut principal = Principal {
        user_id: UserId::new(now),
        session_id: SessionId::new(now),
        epoch: 0,
        opened_at: 0,
        token_id: String::new(),
        roles: vec![],
        audience: vec![],
        username: None,
        starts_at: 0,
        issued_at: 0,
        expires_at: u64::MAX,
    };
    let round = || {
        let begun = Instant::now();
        for id in sessions {
            principal.session_id = *id;
            assert_eq!(black_box(index).check(black_box(&principal)).is_ok(), alive);
        }
        begun.elapsed().as_secs_f64() * 1e9 / sessions.len() as f64
    };
    std::iter::repeat_with(round).take(ROUNDS).fold(f64::INFINITY, f64::min)
}
