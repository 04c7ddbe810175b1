//! The ends of certificates. webpki says when one has ended that it is to verify, and looks at that before all else. So each is
//! verified as of a day after which none is good.

use std::time::Duration;

use time::OffsetDateTime;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::tls::certificates;
use crate::error::Error;

/// The end of the first certificate to end of those of a file in PEM, which `setting` names.
///
/// # Errors
/// [`Error::InvalidArgument`] when one of them cannot be read.
pub fn first_expiry(setting: &'static str, pem: &str) -> Result<OffsetDateTime, Error> {
    let unreadable = || Error::invalid(setting, "a certificate of it cannot be read");
    let ends: Option<Vec<OffsetDateTime>> = certificates(setting, pem)?.iter().map(end).collect();
    ends.and_then(|ends| ends.into_iter().min()).ok_or_else(unreadable)
}

fn end(certificate: &CertificateDer<'_>) -> Option<OffsetDateTime> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let at_last = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    match certificate.verify_for_usage(&[], &[], &[], at_last, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => {
            OffsetDateTime::from_unix_timestamp(not_after.as_secs().try_into().ok()?).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use time::macros::datetime;

    use super::*;

    fn ending(at: OffsetDateTime, is_ca: IsCa) -> String {
        let mut params = CertificateParams::default();
        (params.not_after, params.is_ca) = (at, is_ca);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").pem()
    }

    #[test]
    fn the_first_end_of_a_chain_is_found() {
        let (soon, late) = (datetime!(2031-02-03 04:05:06 UTC), datetime!(2099-12-31 00:00:00 UTC));
        let (leaf, ca) = (ending(late, IsCa::NoCa), ending(soon, IsCa::Ca(BasicConstraints::Unconstrained)));
        assert_eq!(first_expiry("x", &leaf).expect("read"), late);
        assert_eq!(first_expiry("x", &format!("{leaf}{ca}")).expect("read"), soon);
        assert!(first_expiry("x", "no certificate").is_err());
    }
}
