//! The certificates of the ports: whether the key is that of the certificate, and when one ends.

use std::{path::Path, time::Duration};

use countersign_token::{clock::Clock, moment::DAY};
use time::OffsetDateTime;

use super::finding::{Finding, Severity};
use crate::{
    cli::{output::moment, serve::Serve},
    config::{checked, read_file},
    domain::connection::Transport,
    error::Error,
    net::{TlsFiles, first_expiry},
};

/// Time before the end of a certificate from which it is said.
const SOON: Duration = DAY.saturating_mul(14);
const REMEDY: &str = "renew it; servers read the files again by themselves";

/// Checks the files that the settings name.
pub(super) fn check(serve: &Serve) -> Vec<Finding> {
    let Ok(transport) = checked(|violations| serve.tls.clone().check(&serve.listen, violations)) else {
        return Vec::new();
    };
    let policy = match transport {
        Transport::Plaintext => return vec![Finding::ok("tls.certificate", "the ports speak plaintext")],
        Transport::Tls(policy) | Transport::TlsOfGrpc(policy) => policy,
    };
    let (certificate, client_ca) = (policy.certificate.clone(), policy.client_ca.clone());
    let mut found = match TlsFiles::read(policy) {
        Ok(_) => vec![Finding::ok("tls.key", "the key is that of the certificate")],
        Err(error) => Finding::of("tls.key", &error, "give the certificate and its key in PEM"),
    };
    found.extend(expiry("tls.certificate", "tls-cert-file", &certificate));
    if let Some(client_ca) = client_ca {
        // A client's certificate is not refused because that of its CA has ended.
        let end = expiry("tls.client_ca", "tls-client-ca-file", &client_ca).into_iter();
        found.extend(end.map(|it| Finding { severity: it.severity.min(Severity::Warning), ..it }));
    }
    found
}

fn expiry(check: &'static str, setting: &'static str, path: &Path) -> Vec<Finding> {
    let read = || -> Result<OffsetDateTime, Error> { first_expiry(setting, &read_file(setting, path)?) };
    match read() {
        Ok(end) => vec![judge(check, path, end, Clock::system().now())],
        Err(error) => Finding::of(check, &error, "give certificates in PEM"),
    }
}

fn judge(check: &'static str, path: &Path, end: OffsetDateTime, now: OffsetDateTime) -> Finding {
    let (path, at) = (path.display(), moment(end));
    if end <= now {
        return Finding::error(check, format_args!("{path}: a certificate has ended at {at}"), REMEDY);
    }
    match end <= now + SOON {
        true => Finding::warning(check, format_args!("{path}: a certificate ends at {at}"), REMEDY),
        false => Finding::ok(check, format_args!("{path}: good until {at}")),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_certificate_is_said_two_weeks_before_its_end() {
        let now = datetime!(2030-01-01 00:00:00 UTC);
        let judge = |end| judge("tls.certificate", Path::new("a.pem"), end, now).severity;
        assert_eq!(judge(now + DAY * 15), Severity::Ok);
        assert_eq!(judge(now + DAY * 14), Severity::Warning);
        assert_eq!(judge(now + Duration::from_secs(1)), Severity::Warning);
        assert_eq!(judge(now), Severity::Error);
    }
}
