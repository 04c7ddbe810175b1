//! All interleavings of the protocol of revocations with a failover, leftovers, losses and pauses, walked breadth first: the
//! machines that run are the ones that are explored, against a model of two databases. docs/revocation.md, "Explored".
//!
//! An own search, not a library's: a state is a clone of the machines that is brought into a canonical form in place, 16
//! bytes of it are kept, and a rule can be taken back in the model alone.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::print_stdout,
    reason = "a test that panics has failed; clippy knows test functions only, not their helpers"
)]

mod calls;
mod database;
mod faults;
mod former;
mod progress;
mod revoking;
mod rules;
mod search;
mod start;
mod time;
mod variants;
mod verifying;
mod world;

use rules::{Replication, Variant};
use search::{Found, Model, search};
use world::{Call, Step, World};

/// The world of a variant.
struct Explored {
    variant: Variant,
    /// Where a branch ends.
    is_over: fn(&World) -> bool,
}

impl Model for Explored {
    type State = World;
    type Step = Step;

    fn starts(&self) -> Vec<World> {
        let mut starts = start::starts(&self.variant);
        starts.iter_mut().for_each(|world| time::make_canonical(&self.variant, world));
        starts
    }

    fn steps(&self, from: &World) -> Vec<(Step, World)> {
        let (mut out, variant) = (Vec::with_capacity(16), &self.variant);
        if (self.is_over)(from) {
            return out;
        }
        faults::steps(variant, from, &mut out);
        for nth in 0..from.verifying.len() {
            verifying::steps(variant, from, nth, &mut out);
        }
        revoking::steps(variant, from, &mut out);
        calls::steps(variant, from, &mut out);
        out.iter_mut().for_each(|(_, world)| time::make_canonical(variant, world));
        out
    }

    fn violated(&self, world: &World) -> Option<&'static str> {
        let variant = &self.variant;
        let is_accepted = world.verifying.iter().any(|replica| world.accepts(variant.bound, replica));
        world.calls.iter().find_map(|call| match *call {
            Call::Denied { was_live: true } if world.database(world.primary()).session == database::Row::Live => {
                Some("N")
            }
            Call::Waiting { commit, since, is_confirmed } if is_accepted && survives(variant, world, commit.row) => {
                let is_everywhere = since > world::everywhere(variant);
                if is_confirmed { Some("P1a") } else { is_everywhere.then_some("P1b") }
            }
            // Its list may be answered now.
            Call::First { commit, since, .. } if is_accepted && survives(variant, world, commit.row) => {
                (since > world::everywhere(variant)).then_some("P1b")
            }
            _ => None,
        })
    }
}

/// Whether a revocation is one of those of which something is promised.
fn survives(variant: &Variant, world: &World, row: countersign::domain::revocation::Position) -> bool {
    let is_copied = variant.replication == Replication::Sync;
    is_copied || world.phase != database::Phase::Promoted || world.databases[1].log.holds(row)
}

/// Everybody who verifies knows the revocation, or nothing is promised any more.
fn cannot_be_violated(world: &World) -> bool {
    let all_know = world.restarts.0 == 0 && world.verifying.iter().all(|replica| replica.known);
    let no_call = world.calls.iter().all(|call| matches!(call, Call::Over | Call::Denied { .. }));
    let may_deny =
        world.calls.iter().any(|call| matches!(call, Call::Idle(_) | Call::Committed(_) | Call::Read { .. }));
    no_call && world.restarts.1 == 0 || all_know && !may_deny
}

fn walk(variant: Variant, most: usize) -> Found {
    search(&Explored { variant, is_over: cannot_be_violated }, most)
}
