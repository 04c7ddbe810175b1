//! The other end of a connection, as the transport knows it.

use std::{io, net::IpAddr, sync::Arc};

use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::uri_names::uri_names;

/// The other end of a connection. Each request of the connection carries it among its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The network address; None for a unix socket, and for calls in the same process.
    pub addr: Option<IpAddr>,
    /// The names in the client certificate, which was checked against the client CA; None without one.
    pub certificate: Option<Arc<CertificateNames>>,
}

/// The names in a client certificate (subjectAltName, RFC 5280 section 4.2.1.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// Names of kind URI, all of them, as far as they are text. A SPIFFE certificate has exactly one (X.509-SVID section 2).
    pub uris: Vec<String>,
    /// Names of kind DNS, as written.
    pub dns: Vec<String>,
}

impl CertificateNames {
    /// Reads them from a certificate that was checked.
    ///
    /// # Errors
    /// An [`io::Error`] if it is no certificate, or its names cannot be read.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> io::Result<Self> {
        let uris = uri_names(certificate).ok_or_else(|| io::Error::other("names that cannot be read"))?;
        let certificate = EndEntityCert::try_from(certificate).map_err(io::Error::other)?;
        Ok(Self { uris, dns: certificate.valid_dns_names().map(str::to_owned).collect() })
    }
}
