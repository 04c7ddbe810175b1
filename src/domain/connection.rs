//! Choices of connections: how many there may be, how long they live, and with which certificates.

use std::{path::PathBuf, time::Duration};

/// Bounds of the connections of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionPolicy {
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once from one address.
    pub max_connections_per_address: usize,
    /// Age at which a connection takes no more requests, give or take a tenth; None for no limit.
    pub max_age: Option<Duration>,
}

impl Default for ConnectionPolicy {
    /// The bounds by default, without a limit of age.
    fn default() -> Self {
        Self { max_connections: 8192, max_connections_per_address: 2048, max_age: None }
    }
}

/// The files of TLS, and what is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPolicy {
    /// The certificate, and those between it and its CA, in PEM.
    pub certificate: PathBuf,
    /// The private key of the certificate, in PEM.
    pub key: PathBuf,
    /// The CAs of client certificates, in PEM; None if clients are not asked for one.
    pub client_ca: Option<PathBuf>,
    /// The demand on clients where there is a client CA.
    pub client_auth: ClientAuth,
}

impl TlsPolicy {
    /// True if clients are asked who they are.
    pub fn knows_clients(&self) -> bool {
        self.client_ca.is_some()
    }
}

/// A demand on clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Clients without a valid certificate are not served.
    Required,
    /// Clients may come without a certificate; one that is not valid is refused.
    Optional,
}

/// The security of the two ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nothing is encrypted here.
    Plaintext,
    /// Both ports speak TLS.
    Tls(TlsPolicy),
    /// The port of gRPC speaks TLS, that of HTTP does not.
    TlsOfGrpc(TlsPolicy),
}
