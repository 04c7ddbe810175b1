//! The names of the call that a task works for. Work that goes on in a task of its own is handed them. What is done for
//! several calls at once has none: each brings its own along.

use std::future::Future;

use tokio::task_local;

use crate::domain::audit::CallNames;

task_local! {
    static NAMES: CallNames;
}

/// Does work for a call with these names.
pub fn named<F: Future>(names: CallNames, work: F) -> impl Future<Output = F::Output> {
    NAMES.scope(names, work)
}

/// The names of the call that this task works for; none outside of calls.
pub fn names() -> CallNames {
    NAMES.try_with(CallNames::clone).unwrap_or_default()
}
