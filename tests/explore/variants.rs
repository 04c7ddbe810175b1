//! The variants that are walked with every rule kept: none violates a property. With COUNTERSIGN_EXPLORE=all the large ones
//! too, completely where that is possible.

use crate::{
    rules::{Address, Beside, Call, RULES, Replication, Rules, Start, VARIANT, Variant},
    walk,
};

/// Walks it and says what was found.
fn passes(name: &str, variant: Variant) {
    let found = walk(variant, limit());
    let walked = if found.complete { "complete".to_owned() } else { format!("to depth {}", found.depth) };
    println!("| {name} | {} | {walked} |", found.states);
    if let Some(violation) = found.violation {
        violation.trace.iter().enumerate().for_each(|(nth, line)| println!("{:>3}. {line}", nth + 1));
        panic!("{name}: {} is violated", violation.property);
    }
}

/// Whether the large walks are asked for.
pub(crate) fn is_all() -> bool {
    std::env::var("COUNTERSIGN_EXPLORE").is_ok_and(|what| what == "all")
}

/// States for a walk: few, or many where all is asked for.
fn limit() -> usize {
    match std::env::var("COUNTERSIGN_EXPLORE").as_deref() {
        Ok("all") => 12_000_000,
        Ok(number) => number.parse().expect("all or a number"),
        Err(_) => 8_000,
    }
}

const QUIET: Variant = Variant { losses: false, ..VARIANT };
const ASYNC: Variant = Variant { replication: Replication::Async, ..QUIET };
const FENCED: Variant = Variant { replication: Replication::Fenced, ..QUIET };
const DENIED: Variant = Variant {
    calls: &[Call::Refresh],
    verifying: 0,
    left_over: true,
    other_row: true,
    start: Start::Following,
    ..VARIANT
};

#[test]
fn sync() {
    passes("sync, from the promotion, losses, bound 1", VARIANT);
    passes("sync, from the start, bound 1", Variant { start: Start::Nothing, ..QUIET });
    passes(
        "sync, from everybody fresh, lost row, bound 1",
        Variant { start: Start::Following, lost_row: true, ..QUIET },
    );
    passes("sync, from the promotion, bound 2", Variant { bound: 2, ..QUIET });
}

#[test]
fn sync_with_what_is_left_over() {
    let left_over = Variant { left_over: true, is_open: true, ..QUIET };
    passes("sync, left over, lost row, from the promotion", Variant { lost_row: true, ..left_over });
    passes("sync, left over, other row, B has moved", Variant { start: Start::Moved, other_row: true, ..left_over });
    let rules = Rules { first_observed: false, ..RULES };
    passes("sync, left over, first readings not observed", Variant { rules, ..left_over });
}

#[test]
fn sync_where_only_one_replica_moves() {
    passes("sync, B's own address that never moves", Variant { address: Address::OnlyTheRevoking, ..VARIANT });
}

#[test]
fn sync_through_a_pooler() {
    let pooler = Variant { address: Address::Pooler, left_over: true, is_open: true, ..QUIET };
    let following = Variant { beside: Beside::Following, other_row: true, ..pooler };
    passes(
        "sync, pooler, left over, other row, no observer, A has moved",
        Variant { start: Start::Settled, ..following },
    );
    passes("sync, pooler, left over, from the promotion", pooler);
}

#[test]
fn what_was_acknowledged_is_not_denied() {
    passes("N: sync, left over, losses", DENIED);
    passes("N: sync, left over, losses, pooler", Variant { address: Address::Pooler, ..DENIED });
}

#[test]
fn asynchronous_with_a_moved_address() {
    passes("async, moved address, from the promotion", ASYNC);
    passes("async, moved address, B not on the list of D2", Variant { start: Start::Unlisted, ..ASYNC });
    passes("async, moved address, from everybody fresh", Variant { start: Start::Following, ..ASYNC });
}

#[test]
fn asynchronous_with_fencing() {
    passes(
        "async, fenced, B not on the list of D2, losses",
        Variant { start: Start::Unlisted, losses: true, ..FENCED },
    );
    passes("async, fenced, from everybody fresh", Variant { start: Start::Following, ..FENCED });
}

#[test]
fn killed_keys() {
    let keys = Variant { keys: true, losses: true, ..QUIET };
    passes("keys, sync, from the promotion, losses", keys);
    passes(
        "keys, sync, pooler, A has moved",
        Variant { address: Address::Pooler, start: Start::Settled, losses: false, ..keys },
    );
}

#[test]
fn processes_that_end_and_calls_that_overlap() {
    let open = Variant { is_open: true, ..QUIET };
    passes("A ends within Revoke, sync, from the promotion", Variant { restarts: (0, 1), ..open });
    passes("B ends, sync, from the promotion", Variant { restarts: (1, 0), ..open });
    let fenced = Variant { is_open: true, start: Start::Unlisted, ..FENCED };
    passes("A ends, async, fenced, B not on the list", Variant { restarts: (0, 1), ..fenced });
    passes("two Revokes, sync, from the promotion", Variant { calls: &[Call::Revoke, Call::Revoke], ..open });
}

#[test]
fn three_replicas() {
    passes("three replicas, sync, from the promotion", Variant { verifying: 2, is_open: true, ..QUIET });
}

#[test]
fn a_second_promotion() {
    passes("async, fenced, a second promotion", Variant { again: Some(3), start: Start::Unlisted, ..FENCED });
}
