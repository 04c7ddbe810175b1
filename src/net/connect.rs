//! Connections to a server of ours, for health checks on its own machine.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};
use tokio_util::either::Either;

use super::listener::Socket;
use crate::domain::listen::ListenAddr;

/// The security of a connection to a server of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Nothing is encrypted.
    Plaintext,
    /// TLS, whatever certificate the server shows. It has to be on this machine.
    UnverifiedTls,
}

/// Connects to where a server listens; on this machine, if it listens everywhere.
///
/// # Errors
/// Those of the system, and of TLS; for TLS to another machine as well.
pub async fn connect(addr: &ListenAddr, security: Security) -> io::Result<TokioIo<Either<Socket, TlsStream<Socket>>>> {
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
    Ok(TokioIo::new(match security {
        Security::Plaintext => Either::Left(socket),
        Security::UnverifiedTls if is_own(&socket)? => Either::Right(secured(socket).await?),
        Security::UnverifiedTls => {
            return Err(io::Error::other("on another machine: whose certificate it is must be verified"));
        }
    }))
}

/// True if the other end is on this machine, which the system reaches by the same address or a loopback one.
fn is_own(socket: &Socket) -> io::Result<bool> {
    Ok(match socket {
        Either::Left(tcp) => is_same_machine(tcp.local_addr()?.ip(), tcp.peer_addr()?.ip()),
        Either::Right(_) => true,
    })
}

fn is_same_machine(own: IpAddr, peer: IpAddr) -> bool {
    own == peer || peer.to_canonical().is_loopback()
}

async fn secured(socket: Socket) -> io::Result<TlsStream<Socket>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// A verifier that takes any certificate whose key the server has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_reached_by_the_same_address_or_a_loopback_one() {
        for (own, peer, expected) in [
            ("127.0.0.1", "127.0.0.2", true),
            ("::1", "::1", true),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.6", false),
            ("2001:db8::1", "2001:db8::2", false),
        ] {
            let [own_addr, peer_addr] = [own, peer].map(|addr| addr.parse().expect("an address"));
            assert_eq!(is_same_machine(own_addr, peer_addr), expected, "{own} {peer}");
        }
    }
}
