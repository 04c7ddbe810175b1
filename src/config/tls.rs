//! TLS of the ports, or the word that somebody else does it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{server::ListenSettings, violations::Violations};
use crate::domain::{
    connection::{ClientAuth, TlsPolicy, Transport},
    listen::ListenAddr,
};

/// The demand on clients, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientAuthSetting {
    /// A certificate of the client CA
    Required,
    /// A certificate of the client CA, or none
    Optional,
}

/// Settings of TLS.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsSettings {
    /// File with the server's certificate and those between it and its CA, in PEM; read again when it changes, and on SIGHUP
    #[arg(long, env = "COUNTERSIGN_TLS_CERT_FILE")]
    pub tls_cert_file: Option<PathBuf>,

    /// File with the private key of the certificate, in PEM
    #[arg(long, env = "COUNTERSIGN_TLS_KEY_FILE")]
    pub tls_key_file: Option<PathBuf>,

    /// File with the CAs of client certificates, in PEM; with it, clients of gRPC are asked for one
    #[arg(long, env = "COUNTERSIGN_TLS_CLIENT_CA_FILE")]
    pub tls_client_ca_file: Option<PathBuf>,

    /// Demand on clients of gRPC, where there is a client CA; required if nothing is said
    #[arg(long, env = "COUNTERSIGN_TLS_CLIENT_AUTH")]
    pub tls_client_auth: Option<ClientAuthSetting>,

    /// Serves plaintext on addresses that others can reach: a mesh or a proxy does TLS
    #[arg(long, env = "COUNTERSIGN_PLAINTEXT")]
    pub plaintext: bool,

    /// Serves HTTP (JWKS, probes) in plaintext although gRPC speaks TLS
    #[arg(long, env = "COUNTERSIGN_HTTP_PLAINTEXT")]
    pub http_plaintext: bool,
}

impl TlsSettings {
    /// Checks them, for ports at these addresses.
    pub fn check(self, listen: &ListenSettings, violations: &mut Violations) -> Transport {
        let asks_nobody = self.tls_client_auth.is_some() && self.tls_client_ca_file.is_none();
        violations.require(
            !asks_nobody,
            "tls-client-auth",
            "only with tls-client-ca-file, whose certificates clients show",
        );
        let files = match (self.tls_cert_file, self.tls_key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (certificate, _) => {
                let missing = if certificate.is_some() { "tls-key-file" } else { "tls-cert-file" };
                violations.require(false, missing, "a certificate and its key are given together");
                return Transport::Plaintext;
            }
        };
        let Some((certificate, key)) = files else {
            violations.require(self.tls_client_ca_file.is_none(), "tls-client-ca-file", "only with tls-cert-file");
            let expected = "tls-cert-file and tls-key-file, or --plaintext if a mesh or a proxy does TLS";
            let may_be_plain = |addr: &ListenAddr| self.plaintext || addr.is_local();
            violations.require(may_be_plain(&listen.grpc_addr), "grpc-addr", expected);
            violations.require(listen.admin_addr.as_ref().is_none_or(may_be_plain), "admin-addr", expected);
            violations.require(may_be_plain(&listen.http_addr) || self.http_plaintext, "http-addr", expected);
            for (addr, setting) in
                [(&listen.forward_auth_addr, "forward-auth-addr"), (&listen.metrics_addr, "metrics-addr")]
            {
                let may_be = addr.as_ref().is_none_or(|addr| may_be_plain(addr) || self.http_plaintext);
                violations.require(may_be, setting, expected);
            }
            return Transport::Plaintext;
        };
        violations.require(!self.plaintext, "plaintext", "not with tls-cert-file; http-plaintext is for HTTP alone");
        let client_auth = match self.tls_client_auth {
            Some(ClientAuthSetting::Required) | None => ClientAuth::Required,
            Some(ClientAuthSetting::Optional) => ClientAuth::Optional,
        };
        let tls = TlsPolicy { certificate, key, client_ca: self.tls_client_ca_file, client_auth };
        if self.http_plaintext { Transport::TlsOfGrpc(tls) } else { Transport::Tls(tls) }
    }
}
