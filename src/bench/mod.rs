//! `countersign bench`: a load generator for running servers, the reference points of the machine, and what fills a database.
//!
//! A caller (`caller.rs`) makes calls one after the other over a stream (`wire.rs`), paced by a schedule or by the answers
//! (`pace.rs`), with messages that were made before (`prepare.rs`, `supply.rs`). Threads of callers are driven by
//! `load.rs`; what they met is counted in `tally.rs` and told by `report.rs`.
//!
//! Rule: a call that is not answered as expected is counted apart and makes the run fail.

mod call;
mod caller;
mod cpu;
mod load;
mod pace;
mod prepare;
mod reference;
mod report;
mod supply;
mod tally;
mod wire;

pub use self::{
    call::{Call, Mix},
    cpu::listener_of,
    load::{Shape, run},
    prepare::{Credentials, Preparation},
    reference::{Reference, Yardstick},
    report::Report,
    supply::Plan,
    wire::Target,
};
