//! Sessions in the database: refreshes a second, and the revocation protocol as a whole (the index, how soon another replica
//! refuses, how many revocations a second, a start with a long log). The servers run in this process, on a private Postgres
//! that syncs its commits. What it showed is docs/benchmarks.md.
//!
//! Names of parts may be given: `cargo bench --bench sessions -- index spread throughput start refresh`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads clocks and prints; one that panics has failed"
)]

mod database;
mod figures;
mod index;
mod refresh;
mod replica;
mod spread;
mod start;
mod throughput;

use database::Database;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs it too, without this flag and without optimisation.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let parts: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let asked = |part: &str| parts.is_empty() || parts.iter().any(|name| *name == part);
    if asked("index") {
        index::measure();
    }
    if !["spread", "throughput", "start", "refresh"].into_iter().any(asked) {
        return;
    }
    let database = Database::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        if asked("refresh") {
            refresh::measure(&database).await;
        }
        if asked("start") {
            start::measure(&database).await;
        }
        if asked("spread") {
            spread::measure(&database).await;
        }
        if asked("throughput") {
            throughput::measure(&database).await;
        }
    });
}
