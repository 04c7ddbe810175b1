//! Login as a whole: how many a second beside bare hashes, and what a flood of them does to Verify. The server runs in
//! this process with its default settings, on a private Postgres that syncs its commits. What it showed is
//! docs/benchmarks.md.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark reads clocks and prints; one that panics has failed"
)]

mod bare;
#[path = "../sessions/figures.rs"]
mod figures;
mod flood;
mod server;
mod throughput;

use server::Server;

fn main() {
    // `cargo test --all-targets` runs it too, without this flag and without optimisation.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let server = Server::start().await;
        let capacity = throughput::measure(&server).await;
        flood::measure(&server, capacity).await;
        server.stop().await;
    });
}
