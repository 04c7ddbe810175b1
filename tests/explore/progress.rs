//! L: what may be waited for comes, once faults are over.

use crate::{
    Explored,
    database::Phase,
    rules::{Beside, Start, VARIANT, Variant},
    search::{Progress, stuck},
    variants::is_all,
    world::{Call, Step, World},
};

/// From every state that is due a good one is reached without another fault.
fn is_reached(name: &str, explored: &Explored, progress: Progress<Explored>) {
    let (states, due, way) = stuck(explored, progress, 2_000_000);
    println!("| L: {name} | {states}, {due} due |");
    if let Some(way) = way {
        way.iter().enumerate().for_each(|(nth, line)| println!("{:>3}. {line}", nth + 1));
        panic!("{name}: stuck");
    }
}

fn is_confirmed(world: &World) -> bool {
    world.calls.iter().any(|call| matches!(call, Call::Waiting { is_confirmed: true, .. }))
}

fn is_refused(world: &World) -> bool {
    is_confirmed(world) || world.calls.iter().any(|call| matches!(call, Call::Over))
}

/// Revoke was committed, and D2 is promoted if D1 is cut off.
fn waits(world: &World) -> bool {
    let waits = |call: &Call| matches!(call, Call::First { .. } | Call::Waiting { .. });
    world.phase != Phase::Cut && world.calls.iter().any(waits)
}

const CONFIRMED: Progress<Explored> = Progress { due: waits, good: is_confirmed, may: |step| !step.is_fault };

#[test]
fn what_was_revoked_is_confirmed_sooner_or_later() {
    let variant = Variant { start: Start::Following, failover: false, losses: false, is_open: true, ..VARIANT };
    is_reached("confirmed, no faults", &Explored { variant, is_over: is_refused }, CONFIRMED);
}

#[test]
fn what_was_revoked_is_confirmed_after_a_failover() {
    let verifying = u8::from(is_all());
    let variant = Variant { start: Start::Promoted, losses: false, is_open: true, verifying, ..VARIANT };
    is_reached("confirmed, failover", &Explored { variant, is_over: is_refused }, CONFIRMED);
}

#[test]
fn a_replica_becomes_fresh_again() {
    let beside = if is_all() { Beside::Everything } else { Beside::Nothing };
    let variant = Variant { calls: &[], beside, start: Start::Following, is_open: true, ..VARIANT };
    let fresh = Progress {
        due: |world: &World| world.phase != Phase::Cut,
        good: |world: &World| world.verifying.iter().all(|replica| replica.published == Some(0)),
        may: |step: &Step| !step.is_fault,
    };
    is_reached("fresh again", &Explored { variant, is_over: |_| false }, fresh);
}
