//! A certificate authority of the tests.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, SanType};

/// A certificate authority.
pub(crate) struct Authority {
    /// Its certificate.
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Certificate {
    pub pem: String,
    pub key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate with these names: those with `://` are URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Certificate {
        self.sign(CertificateParams::default(), names)
    }

    /// The same, of long ago.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Certificate {
        let mut params = CertificateParams::default();
        params.not_after = params.not_before + Duration::from_secs(3600);
        self.sign(params, names)
    }

    /// A certificate with these names of kind URI, which need not be text.
    pub(crate) fn issue_uris(&self, uris: &[&[u8]]) -> Certificate {
        let element = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).expect("short")], content].concat();
        let names: Vec<u8> = uris.iter().flat_map(|uri| element(0x86, uri)).collect();
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], element(0x30, &names))];
        self.sign(params, &[])
    }

    fn sign(&self, mut params: CertificateParams, names: &[&str]) -> Certificate {
        let name = |name: &&str| match name.parse() {
            Ok(addr) => SanType::IpAddress(addr),
            Err(_) if name.contains("://") => SanType::URI((*name).try_into().expect("ASCII")),
            Err(_) => SanType::DnsName((*name).try_into().expect("ASCII")),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Certificate { pem: certificate.pem(), key: key.serialize_pem() }
    }
}
