//! The `countersign-bench` command: a load generator for running servers, the reference points of the machine, and what
//! fills a database.
//!
//! A caller (`caller.rs`) makes calls one after the other over a stream (`wire.rs`), paced by a schedule or by the
//! answers (`pace.rs`). The messages were made before (`prepare.rs`, `supply.rs`). Threads of callers are driven by
//! `load.rs`; what they met is counted in `tally.rs` and told by `report.rs`.
//!
//! Rule: a call that is not answered as expected is counted apart and makes the run fail.

mod call;
mod caller;
mod cli;
mod commit_bench;
mod cpu;
mod empty;
mod load;
mod microbench;
mod pace;
mod prepare;
mod reference;
mod report;
mod seed;
mod shape;
mod status_reason;
mod supply;
mod tally;
mod wire;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// The allocator of the server, whose empty call is measured here.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
