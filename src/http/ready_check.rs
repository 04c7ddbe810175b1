//! The client side of `/readyz`, for `countersign healthcheck`.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    domain::listen::ListenAddr,
    error::Error,
    net::{self, Security},
};

const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 ";

/// Passes if the server at `addr` says that it is ready within `limit`.
///
/// # Errors
/// [`Error::Internal`] when it says anything else or nothing.
pub async fn check_ready(addr: &ListenAddr, security: Security, limit: Duration) -> Result<(), Error> {
    let asked = async {
        let mut socket = net::connect(addr, security).await?.into_inner();
        socket.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(limit, asked).await.map_err(Error::internal)?.map_err(Error::internal)?;
    if answer.starts_with(OK) { Ok(()) } else { Err(Error::internal("not ready")) }
}
