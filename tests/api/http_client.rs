//! A client of HTTP/1.1 that sends what it is told, byte for byte, and reads one answer.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// An answer.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl HttpAnswer {
    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a header that comes once at most.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} comes {} times", all.len());
        all.first().copied()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// The status, and the reason of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().expect("a reason").to_owned())
    }

    /// The value of a cookie that the answer sets; empty for one that it takes away.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.all("set-cookie");
        let mut values =
            cookies.iter().filter_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('=')?.split(';').next());
        let value = values.next();
        assert!(values.next().is_none(), "{name} is set twice");
        value
    }
}

/// Sends a request with these lines of headers, without their ends, and a body.
pub(crate) async fn http(addr: SocketAddr, request: &str, headers: &[&[u8]], body: &[u8]) -> HttpAnswer {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    let mut bytes =
        format!("{request} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for header in headers {
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    // A server may answer before it has read all.
    drop(stream.write_all(&bytes).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    HttpAnswer { status, headers, body: body.to_owned() }
}
