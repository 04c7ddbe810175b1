//! TLS of the ports: certificate, key and client CA come from files, which are read again while the ports serve. Files that
//! cannot be used then change nothing: what they held before stays. Connections that there are keep what they began with.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use zeroize::Zeroizing;

use super::protocol::Protocol;
use crate::{
    config::{Occasion, Reread, read_file, warn_if_open},
    domain::connection::{ClientAuth, TlsPolicy},
    error::Error,
};

/// The settings by which errors name the files.
const CERTIFICATE: &str = "tls-cert-file";
const KEY: &str = "tls-key-file";
const CLIENT_CA: &str = "tls-client-ca-file";

/// The TLS of one port, as the files have it by now.
#[derive(Clone)]
pub struct TlsConfig(Arc<ArcSwap<ServerConfig>>);

impl TlsConfig {
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConfig(..)")
    }
}

/// The files of TLS, and the configurations that were made of them when they could last be used.
#[derive(Debug)]
pub struct TlsFiles {
    policy: TlsPolicy,
    /// The contents in force.
    used: Contents,
    refused: Option<Refused>,
    grpc: TlsConfig,
    web: TlsConfig,
    http: TlsConfig,
}

/// Contents that could not be used; None if they could not be read.
#[derive(Debug)]
struct Refused {
    contents: Option<Contents>,
    said: bool,
}

/// The contents of the files.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Zeroizing<String>,
    key: Zeroizing<String>,
    client_ca: Option<Zeroizing<String>>,
}

impl TlsFiles {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names the setting, and what is wrong with its file.
    pub fn read(policy: TlsPolicy) -> Result<Self, Error> {
        warn_if_open(KEY, &policy.key);
        let used = Contents::read(&policy)?;
        let made = used.configurations(&policy)?;
        let [grpc, web, http] = made.map(|config| TlsConfig(Arc::new(ArcSwap::new(config))));
        Ok(Self { policy, used, refused: None, grpc, web, http })
    }

    /// The TLS of a port that speaks this.
    pub fn config(&self, protocol: Protocol) -> TlsConfig {
        match protocol {
            Protocol::Http2 => self.grpc.clone(),
            Protocol::Both => self.web.clone(),
            Protocol::Http1 => self.http.clone(),
        }
    }

    /// Reads the files again, and says in the log what came of it.
    pub fn read_again(&mut self, occasion: Occasion) -> Reread {
        let read = Contents::read(&self.policy);
        if occasion == Occasion::Look && read.as_ref().is_ok_and(|contents| *contents == self.used) {
            self.refused = None;
            return Reread::Unchanged;
        }
        let seen = read.as_ref().ok().cloned();
        match read.and_then(|contents| Ok((contents.configurations(&self.policy)?, contents))) {
            Ok(([grpc, web, http], contents)) => {
                self.grpc.0.store(grpc);
                self.web.0.store(web);
                self.http.0.store(http);
                (self.used, self.refused) = (contents, None);
                warn_if_open(KEY, &self.policy.key);
                tracing::info!(file = %self.policy.certificate.display(), "read the certificate and its key");
                Reread::Used
            }
            Err(error) => self.refuse(seen, &error, occasion),
        }
    }

    /// Says that the files cannot be used: if somebody asked, and once if they are as they were at the last look. Files that
    /// are just being replaced do not fit together for a moment.
    fn refuse(&mut self, contents: Option<Contents>, error: &Error, occasion: Occasion) -> Reread {
        let before = self.refused.take().filter(|refused| refused.contents == contents);
        let said = before.as_ref().is_some_and(|refused| refused.said);
        let say = occasion == Occasion::Request || (before.is_some() && !said);
        self.refused = Some(Refused { contents, said: said || say });
        if say {
            tracing::error!(%error, "the files of TLS cannot be used: what they held before stays in force");
            return Reread::Kept;
        }
        Reread::Unchanged
    }
}

impl Contents {
    fn read(policy: &TlsPolicy) -> Result<Self, Error> {
        let client_ca = policy.client_ca.as_deref();
        Ok(Self {
            certificate: read_file(CERTIFICATE, &policy.certificate)?,
            key: read_file(KEY, &policy.key)?,
            client_ca: client_ca.map(|path| read_file(CLIENT_CA, path)).transpose()?,
        })
    }

    /// The configurations of the port of gRPC, of the same with gRPC-Web, and of HTTP, whose callers need no certificate.
    fn configurations(&self, policy: &TlsPolicy) -> Result<[Arc<ServerConfig>; 3], Error> {
        let clients = self.client_verifier(policy.client_auth)?;
        let grpc = self.configuration(Arc::clone(&clients), &[b"h2"])?;
        let web = self.configuration(clients, &[b"h2", b"http/1.1"])?;
        let http = self.configuration(WebPkiClientVerifier::no_client_auth(), &[b"http/1.1"])?;
        Ok([grpc, web, http].map(Arc::new))
    }

    fn configuration(&self, verifier: Arc<dyn ClientCertVerifier>, protocols: &[&[u8]]) -> Result<ServerConfig, Error> {
        let chain = certificates(CERTIFICATE, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map_err(|_| {
            Error::invalid(KEY, "expected a private key in PEM (PKCS#8, PKCS#1 or SEC1), not encrypted")
        })?;
        let versions = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?;
        let mut config = versions
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| Error::invalid(KEY, format!("the key and the certificate: {error}")))?;
        if self.client_ca.is_some() {
            // Whoever resumes is not asked for its certificate again, which may have expired.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    fn client_verifier(&self, auth: ClientAuth) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let Some(client_ca) = &self.client_ca else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CLIENT_CA, client_ca)? {
            roots.add(certificate).map_err(|error| Error::invalid(CLIENT_CA, error.to_string()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match auth {
            ClientAuth::Required => verifier,
            ClientAuth::Optional => verifier.allow_unauthenticated(),
        };
        verifier.build().map_err(|error| Error::invalid(CLIENT_CA, error.to_string()))
    }
}

/// Kept out of every log, since one of them is a key.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Contents(..)")
    }
}

/// The certificates of a file, at least one.
pub(super) fn certificates(setting: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| Error::invalid(setting, "expected certificates in PEM"))
}
