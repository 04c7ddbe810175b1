//! Addresses to listen on.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// A TCP port of a host: an address, a name that may have several, or None for every address of both families.
    Tcp {
        /// The host, without brackets.
        host: Option<String>,
        /// The port; 0 takes a free one.
        port: u16,
    },
    /// A unix socket at this path.
    Unix(PathBuf),
}

impl ListenAddr {
    /// True if only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host: None, .. } => false,
            Self::Tcp { host: Some(host), .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|addr| addr.to_canonical().is_loopback())
            }
        }
    }
}

/// Reads `host:port`, `[v6]:port`, `:port` or `unix:/path`.
impl FromStr for ListenAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected HOST:PORT, [IPV6]:PORT, :PORT or unix:/PATH";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(EXPECTED) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(EXPECTED)?;
        let port = port.parse().map_err(|_| EXPECTED)?;
        if host.is_empty() {
            return Ok(Self::Tcp { host: None, port });
        }
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let valid = match bracketed {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')),
        };
        let host = bracketed.unwrap_or(host).to_owned();
        if valid { Ok(Self::Tcp { host: Some(host), port }) } else { Err(EXPECTED) }
    }
}

impl From<std::net::SocketAddr> for ListenAddr {
    fn from(addr: std::net::SocketAddr) -> Self {
        Self::Tcp { host: Some(addr.ip().to_string()), port: addr.port() }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host: None, port } => write!(f, ":{port}"),
            Self::Tcp { host: Some(host), port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host: Some(host), port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_as_they_are_given() {
        for (text, local) in [
            ("127.0.0.1:50051", true),
            ("[::1]:0", true),
            ("localhost:8080", true),
            ("unix:/run/countersign.sock", true),
            (":50051", false),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("[::ffff:10.0.0.1]:1", false),
            ("auth.internal:50051", false),
        ] {
            let addr: ListenAddr = text.parse().expect(text);
            assert_eq!((addr.to_string().as_str(), addr.is_local()), (text, local));
        }
        for bad in ["", "50051", "::1:50051", "[::1]", "host:", "host:65536", "unix:run", "[host]:1", "a b:1", "-:x"] {
            assert!(bad.parse::<ListenAddr>().is_err(), "{bad}");
        }
    }
}
