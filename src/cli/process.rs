//! The process of a server: its runtime, its ports, and the signals by which it is told to stop.

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{error::Error, server::Stop};

/// Carries out async work on a runtime of its own, set up as the server's.
///
/// # Errors
/// Those of the work; [`Error::Internal`] when there can be no runtime.
pub fn block_on(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let mut runtime = runtime::Builder::new_multi_thread();
    // With it, each reply is a system call of its own. It can be turned off where .cargo/config.toml says so.
    #[cfg(tokio_unstable)]
    runtime.disable_lifo_slot();
    runtime.enable_all().build().map_err(Error::internal)?.block_on(work)
}

/// Lets this process open as many files as the system allows. Says in the log if these are too few for so many connections.
pub(super) fn allow_connections(connections: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // A limit that the system does not let us raise stays.
    setrlimit(Resource::Nofile, limit).unwrap_or_default();
    let allowed = getrlimit(Resource::Nofile).current;
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    if allowed.is_some_and(|allowed| allowed < wanted) {
        tracing::warn!(allowed, wanted, "this process may open fewer files than max-connections would take");
    }
}

/// The files that a server opens beside connections of clients: the database's, logs, the runtime's.
const OTHER_FILES: u64 = 128;

/// Counts Ctrl-C and SIGTERM as requests to stop.
///
/// # Errors
/// [`Error::Internal`] when the system does not let us.
pub fn stop_signals() -> Result<Stop, Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::internal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::internal)?;
    let (requests, stop) = Stop::new();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            requests.send_modify(|made| *made += 1);
        }
    });
    Ok(stop)
}
