//! The process of a server: its runtime, its ports, and the signals by which it is told to stop.

use std::net::SocketAddr;

use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{error::Error, server::Listeners};

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

pub(super) async fn bind(grpc: SocketAddr, http: SocketAddr) -> Result<Listeners, Error> {
    Ok(Listeners { grpc: bind_one("grpc-addr", grpc).await?, http: bind_one("http-addr", http).await? })
}

/// Listens on an address that a setting names.
///
/// # Errors
/// [`Error::InvalidArgument`] for one that cannot be had.
pub async fn bind_one(setting: &'static str, addr: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|error| Error::invalid(setting, format!("{addr}: {error}")))
}

pub(super) fn local_addr(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(Error::internal)
}

/// Resolves at the first Ctrl-C or SIGTERM.
#[derive(Debug)]
pub struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
}

impl Shutdown {
    /// Begins to listen for both.
    ///
    /// # Errors
    /// [`Error::Internal`] when the system does not let us.
    pub fn listen() -> Result<Self, Error> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(Error::internal)?,
            terminate: signal(SignalKind::terminate()).map_err(Error::internal)?,
        })
    }

    /// Waits for one of the signals.
    pub async fn requested(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
