//! A server that runs: what it says of itself at `/readyz`.

use std::{str::FromStr, time::Duration};

use super::finding::Finding;
use crate::{domain::listen::ListenAddr, error::Error, http::check_ready, net::Security};

/// Time to wait for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The place of a server's HTTP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUrl {
    addr: ListenAddr,
    security: Security,
}

impl FromStr for ServerUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected http://HOST:PORT, or https://HOST:PORT of this machine";
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        let (security, port) = match scheme {
            "http" => (Security::Plaintext, 80),
            "https" => (Security::UnverifiedTls, 443),
            _ => return Err(EXPECTED),
        };
        let host = rest.trim_end_matches('/');
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let addr = if has_port { host.parse() } else { format!("{host}:{port}").parse() };
        match addr {
            Ok(ListenAddr::Tcp { host: None, .. }) | Err(_) => Err(EXPECTED),
            Ok(addr) => Ok(Self { addr, security }),
        }
    }
}

/// Asks the server.
pub(super) async fn check(server: &ServerUrl) -> Vec<Finding> {
    judge(check_ready(&server.addr, server.security, LIMIT).await)
}

fn judge(answer: Result<(), Error>) -> Vec<Finding> {
    const CHECK: &str = "server.ready";
    match answer {
        Ok(()) => vec![Finding::ok(CHECK, "it is ready")],
        Err(error) => Finding::of(CHECK, &error, "docs/operating.md says when a server is not ready; see its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Severity;

    #[test]
    fn a_url_names_a_port_of_http() {
        let parse = |url: &str| url.parse::<ServerUrl>();
        let at = |addr: &str, security| Ok(ServerUrl { addr: addr.parse().expect("an address"), security });
        assert_eq!(parse("http://127.0.0.1:8080/"), at("127.0.0.1:8080", Security::Plaintext));
        assert_eq!(parse("https://auth.example"), at("auth.example:443", Security::UnverifiedTls));
        assert_eq!(parse("http://[::1]:81"), at("[::1]:81", Security::Plaintext));
        assert_eq!(parse("http://[::1]"), at("[::1]:80", Security::Plaintext));
        for bad in ["", "127.0.0.1:8080", "ftp://a:1", "http://:80", "http://a b", "http://a:1/x", "http://u@a:1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_that_is_not_ready_is_an_error() {
        assert_eq!(judge(Ok(()))[0].severity, Severity::Ok);
        assert_eq!(judge(Err(Error::invalid("http-addr", "a:1 is not ready: stale")))[0].severity, Severity::Error);
    }
}
