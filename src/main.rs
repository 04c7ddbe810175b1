//! The `countersign` command.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Requests allocate and free small things on all cores (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    countersign::cli::main()
}
