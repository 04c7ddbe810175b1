//! Connections to a server of ours, for health checks on its own machine.

use std::{io, net::Ipv4Addr};

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

use crate::domain::listen::ListenAddr;

/// Connects to where a server listens; on this machine, if it listens everywhere.
///
/// # Errors
/// Those of the system.
pub async fn connect(addr: &ListenAddr) -> io::Result<TokioIo<Either<TcpStream, UnixStream>>> {
    let socket = match addr {
        ListenAddr::Unix(path) => Either::Right(UnixStream::connect(path).await?),
        ListenAddr::Tcp { host, port } => {
            let host = host.as_deref().filter(|host| !matches!(*host, "0.0.0.0" | "::"));
            Either::Left(match host {
                Some(host) => TcpStream::connect((host, *port)).await?,
                None => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await?,
            })
        }
    };
    Ok(TokioIo::new(socket))
}
