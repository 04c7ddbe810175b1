//! The client side of `/readyz`, for `countersign healthcheck`.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    domain::{
        listen::ListenAddr,
        unreached::{no_answer, unreached},
    },
    error::Error,
    net::{self, Security},
};

/// The setting by which errors name the address.
const SETTING: &str = "http-addr";
/// Longest answer that is read, in bytes.
const LONGEST: u64 = 4096;
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 ";

/// Passes if the server at `addr` says that it is ready within `limit`.
///
/// # Errors
/// [`Error::InvalidArgument`] when it says anything else or nothing.
pub async fn check_ready(addr: &ListenAddr, security: Security, limit: Duration) -> Result<(), Error> {
    let said = |what: String| Error::invalid(SETTING, what);
    let asked = async { ask(addr, security).await.map_err(|error| unreached(addr, &error)) };
    let answer = timeout(limit, asked).await.unwrap_or_else(|_| Err(no_answer(addr))).map_err(said)?;
    if answer.starts_with(OK) { Ok(()) } else { Err(said(format!("{addr} is not ready: {}", reason(&answer)))) }
}

async fn ask(addr: &ListenAddr, security: Security) -> io::Result<Vec<u8>> {
    let mut socket = net::connect(addr, security).await?.into_inner();
    socket.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    socket.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The reason that our probe gives in its last line; a terminal might obey that of another server.
fn reason(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    match text.lines().last().unwrap_or_default().trim() {
        "" => "it says nothing that a server of ours says; give --tls-no-verify if it speaks TLS".to_owned(),
        reason => reason.escape_debug().to_string(),
    }
}
