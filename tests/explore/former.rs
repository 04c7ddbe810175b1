//! Each rule taken back alone, and all of them: the walk finds what goes wrong then.

use crate::{
    rules::{Address, Beside, Call, Proof, RULES, Replication, Rules, Shown, Start, VARIANT, Variant},
    walk,
};

/// The walk ends at a violation of this property, whose trace is printed; with the rules kept it does not end there.
fn finds(property: &str, variant: Variant) {
    let found = walk(variant, 3_000_000);
    let violation = found.violation.unwrap_or_else(|| panic!("{} states, none violates {property}", found.states));
    println!("{property} after {} steps, {} states:", violation.trace.len(), found.states);
    violation.trace.iter().enumerate().for_each(|(nth, line)| println!("{:>3}. {line}", nth + 1));
    assert_eq!(violation.property, property);
}

/// From everybody fresh on D1 on, without losses.
const QUIET: Variant = Variant { losses: false, is_open: true, ..VARIANT };

const FORMER: Rules = Rules {
    m1: Proof::Read,
    m2: false,
    m3: Shown::Nothing,
    m4: false,
    m5: false,
    a1: false,
    a2: false,
    a3: false,
    first_observed: false,
    ..RULES
};

#[test]
fn former_rules_confirm_the_revocation_of_a_session_whose_row_is_lost() {
    finds("P1a", Variant { start: Start::Following, failover: false, lost_row: true, rules: FORMER, ..QUIET });
}

#[test]
fn former_rules_confirm_what_an_old_primary_says() {
    let rules = Rules { m5: true, ..FORMER };
    finds("P1a", Variant { is_open: false, rules, ..QUIET });
}

#[test]
fn former_rules_deny_by_an_old_primary_what_was_acknowledged() {
    finds("N", Variant { calls: &[Call::Refresh], is_open: false, rules: FORMER, ..QUIET });
}

#[test]
fn former_rules_confirm_by_an_observer_that_stays_on_an_old_primary() {
    finds(
        "P1a",
        Variant {
            start: Start::Moved,
            losses: false,
            rules: Rules { m3: Shown::Nothing, first_observed: false, ..RULES },
            ..QUIET
        },
    );
}

#[test]
fn former_rules_accept_for_ever_what_an_old_primary_keeps_fresh() {
    let rules = Rules { a1: false, a2: false, a3: false, ..RULES };
    finds("P1b", Variant { rules, ..ASYNC });
}

#[test]
fn m1_an_answer_without_a_commit() {
    let rules = Rules { m1: Proof::Read, ..RULES };
    finds("N", Variant { calls: &[Call::Refresh], is_open: false, rules, ..QUIET });
    finds("P1a", Variant { start: Start::Moved, left_over: true, rules, ..QUIET });
}

#[test]
fn m1_a_commit_before_the_read() {
    let rules = Rules { m1: Proof::CommitThenRead, ..RULES };
    let variant = Variant { start: Start::Following, left_over: true, rules, ..QUIET };
    finds("N", Variant { calls: &[Call::Refresh], ..variant });
    finds("P1a", Variant { start: Start::Moved, ..variant });
}

#[test]
fn m2_absence_that_is_not_logged() {
    let rules = Rules { m2: false, ..RULES };
    finds("P1a", Variant { start: Start::Following, failover: false, lost_row: true, rules, ..QUIET });
}

#[test]
fn m3_a_row_known_by_its_number() {
    let rules = Rules { m3: Shown::Number, ..RULES };
    finds("P1a", Variant { left_over: true, other_row: true, rules, ..QUIET });
}

#[test]
fn m4_a_report_that_does_not_name_its_row() {
    let rules = Rules { m4: false, ..RULES };
    finds(
        "P1a",
        Variant {
            start: Start::Settled,
            address: Address::Pooler,
            left_over: true,
            other_row: true,
            losses: false,
            rules,
            ..QUIET
        },
    );
}

#[test]
fn m5_a_cancelled_wait_that_counts_as_a_commit() {
    finds("P1a", Variant { start: Start::Moved, rules: Rules { m5: false, ..RULES }, ..QUIET });
}

const ASYNC: Variant = Variant { replication: Replication::Async, beside: Beside::Following, ..QUIET };

#[test]
fn a1_an_old_connection_whose_heartbeats_count() {
    finds("P1b", Variant { rules: Rules { a1: false, ..RULES }, ..ASYNC });
}

#[test]
fn a2_everywhere_without_the_lifetime_of_a_connection() {
    finds("P1b", Variant { rules: Rules { a2: false, ..RULES }, ..ASYNC });
}

#[test]
fn a3_a_new_log_that_confirms_at_once() {
    let rules = Rules { a3: false, ..RULES };
    finds("P1a", Variant { start: Start::Unlisted, rules, ..ASYNC });
    finds("P1a", Variant { start: Start::Unlisted, rules, replication: Replication::Fenced, ..QUIET });
    finds("P1a", Variant { rules, ..ASYNC });
}

#[test]
fn a_heartbeat_that_breaks_a_silence_and_counts() {
    let rules = Rules { silence: false, ..RULES };
    finds("P1a", Variant { start: Start::Following, failover: false, rules, ..QUIET });
}

#[test]
fn a_heartbeat_that_counts_without_a_commit() {
    let rules = Rules { beat_commits: false, a1: false, ..RULES };
    finds("P1b", Variant { beside: Beside::Nothing, rules, ..QUIET });
}

#[test]
fn keys_that_are_read_where_the_row_is_not() {
    let rules = Rules { keys_shown: false, ..RULES };
    finds("P1a", Variant { start: Start::Settled, address: Address::Pooler, keys: true, rules, ..QUIET });
}

#[test]
fn keys_that_are_read_when_their_row_counts_as_applied() {
    let rules = Rules { keys_first: false, ..RULES };
    finds("P1a", Variant { start: Start::Following, failover: false, keys: true, losses: true, rules, ..QUIET });
}

/// A log that is called by its timeline: a second standby may be promoted to the one that the first had.
#[test]
fn two_logs_of_one_name() {
    let variant = Variant { replication: Replication::Fenced, beside: Beside::Nothing, ..QUIET };
    finds("P1a", Variant { start: Start::Over, again: Some(2), ..variant });
}
