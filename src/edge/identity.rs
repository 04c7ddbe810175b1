//! Identities of callers: by a service token, by what a trusted proxy says, or by the client certificate, in this order.

use http::{HeaderMap, header::AUTHORIZATION};

use super::{callers::Callers, forwarded};
use crate::{
    crypto::service_token::{is_equal, sha256},
    domain::{audit::Denial, caller::CallerId, caller_policy::CallerPolicy},
    net::{CertificateNames, Peer},
};

/// The identity of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// The caller that has the token of administrators: `token:admin`.
    Admin,
    /// A caller that has shown who it is.
    Known(CallerId),
    /// A caller that has not, and why.
    Unknown(Denial),
}

/// Identifies the caller that sent a request with these headers over a connection from this peer.
pub(super) fn identify(callers: &Callers, policy: Option<&CallerPolicy>, peer: &Peer, headers: &HeaderMap) -> Identity {
    if let Some(by_token) = by_token(callers, policy, headers) {
        return by_token;
    }
    let named = match policy {
        Some(policy) if is_trusted_proxy(policy, peer) => by_proxy(policy, headers),
        _ => peer.certificate.as_deref().map_or(Err(Denial::NoCredential), |names| by_certificate(policy, names)),
    };
    named.map_or_else(Identity::Unknown, Identity::Known)
}

/// The caller by its service token. A bearer that is none of ours may be an end user's, and says nothing.
fn by_token(callers: &Callers, policy: Option<&CallerPolicy>, headers: &HeaderMap) -> Option<Identity> {
    let tokens = policy.map(|policy| policy.tokens.as_slice()).unwrap_or_default();
    if callers.admin_token.is_none() && tokens.is_empty() {
        return None;
    }
    let digest = sha256(bearer(headers)?);
    if callers.admin_token.as_ref().is_some_and(|hash| hash.load().matches(&digest)) {
        return Some(Identity::Admin);
    }
    let found = tokens.iter().find(|token| is_equal(&token.sha256, &digest));
    found.map(|token| Identity::Known(token.id.clone()))
}

/// The bearer token (RFC 6750 section 2.1), if there is one and no second.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// True if a peer is believed when it names its client.
pub(super) fn is_trusted_proxy(policy: &CallerPolicy, peer: &Peer) -> bool {
    let proxies = &policy.proxies;
    let is_listed = |id: &CallerId| proxies.ids.find_named(id).is_some();
    proxies.has_address(peer.addr)
        || (!proxies.ids.is_empty()
            && peer.certificate.as_deref().is_some_and(|names| named(names, is_listed).is_ok_and(|id| is_listed(&id))))
}

/// The caller that a trusted proxy names. A proxy that names none passes on the request of somebody unknown, not one of its own.
fn by_proxy(policy: &CallerPolicy, headers: &HeaderMap) -> Result<CallerId, Denial> {
    match forwarded::last_certificate(headers) {
        Some(Ok(names)) if names != CertificateNames::default() => by_certificate(Some(policy), &names),
        Some(Err(forwarded::Malformed)) => Err(Denial::ForwardedMalformed),
        Some(Ok(_)) | None => Err(Denial::NotForwarded),
    }
}

fn by_certificate(policy: Option<&CallerPolicy>, names: &CertificateNames) -> Result<CallerId, Denial> {
    let callers = policy.and_then(|policy| policy.callers.as_ref());
    named(names, |id| callers.is_some_and(|callers| callers.find_named(id).is_some()))
}

/// The caller of a certificate: its SPIFFE id, or of its DNS names the first that is listed, or else the first.
fn named(names: &CertificateNames, is_listed: impl Fn(&CallerId) -> bool) -> Result<CallerId, Denial> {
    match names.uris.as_slice() {
        [uri] => CallerId::spiffe(uri).ok_or(Denial::NotSpiffe),
        [] => {
            let mut ids = names.dns.iter().filter_map(|name| CallerId::dns(name));
            let first = ids.next().ok_or(Denial::NoName)?;
            if is_listed(&first) {
                return Ok(first);
            }
            Ok(ids.find(is_listed).unwrap_or(first))
        }
        _ => Err(Denial::SeveralUris),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        crypto::service_token::ServiceTokenHash,
        domain::{
            caller::CallerPattern,
            caller_policy::{Grants, Patterns, ServiceToken},
            network::Network,
        },
        edge::Defaults,
    };

    const ADMIN: &str = "an-administrators-token-of-some-characters";
    const DEPLOY: &str = "the-token-of-what-deploys";
    const WEB: &str = "spiffe://e/ns/shop/web";

    fn callers() -> Callers {
        Callers::new(Defaults::Open, Some(ServiceTokenHash::from_file_content(ADMIN).expect("a token")))
    }

    fn policy() -> CallerPolicy {
        let mut policy = CallerPolicy::default();
        policy
            .tokens
            .push(ServiceToken { id: CallerId::token("deploy").expect("a name"), sha256: sha256(DEPLOY.as_bytes()) });
        policy.proxies.networks.push(Network::parse("10.0.0.0/8").expect("a network"));
        policy.proxies.ids.insert(CallerPattern::parse("spiffe://e/gateways/*").expect("a pattern"), ());
        policy.proxies.ids.insert(CallerPattern::parse("dns:proxy").expect("a pattern"), ());
        let mut listed = Patterns::default();
        listed.insert(CallerPattern::parse("dns:listed").expect("a pattern"), Arc::new(Grants::everything()));
        policy.callers = Some(listed);
        policy
    }

    fn peer(addr: &str, names: Option<(&[&str], &[&str])>) -> Peer {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = names.map(|(uris, dns)| Arc::new(CertificateNames { uris: owned(uris), dns: owned(dns) }));
        Peer { addr: addr.parse().ok(), certificate }
    }

    fn identified(peer: &Peer, headers: &[(&'static str, &str)]) -> Identity {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        identify(&callers(), Some(&policy()), peer, &map)
    }

    fn known(text: &str) -> Identity {
        Identity::Known(CallerId::parse(text).expect(text))
    }

    #[test]
    fn a_certificate_names_its_caller_by_one_spiffe_id_or_by_dns() {
        for (uris, dns, expected) in [
            (&[WEB][..], &[][..], known(WEB)),
            (&[WEB], &["listed"], known(WEB)),
            (&[WEB, "spiffe://e/other"], &[], Identity::Unknown(Denial::SeveralUris)),
            (&[WEB, "https://e"], &["listed"], Identity::Unknown(Denial::SeveralUris)),
            (&["https://e"], &["listed"], Identity::Unknown(Denial::NotSpiffe)),
            (&["spiffe://e"], &[], Identity::Unknown(Denial::NotSpiffe)),
            (&[], &[], Identity::Unknown(Denial::NoName)),
            (&[], &["*.e"], Identity::Unknown(Denial::NoName)),
            (&[], &["a", "b"], known("dns:a")),
            (&[], &["a", "Listed", "b"], known("dns:listed")),
        ] {
            assert_eq!(identified(&peer("192.0.2.1", Some((uris, dns))), &[]), expected, "{uris:?} {dns:?}");
        }
        assert_eq!(identified(&peer("192.0.2.1", None), &[]), Identity::Unknown(Denial::NoCredential));
        assert_eq!(identified(&Peer::default(), &[]), Identity::Unknown(Denial::NoCredential));
    }

    #[test]
    fn a_forwarded_certificate_counts_from_a_trusted_proxy_alone() {
        let xfcc = [("x-forwarded-client-cert", "By=spiffe://e/x;URI=spiffe://e/ns/shop/web")];
        let trusted = [
            peer("10.1.2.3", None),
            peer("::ffff:10.1.2.3", None),
            peer("192.0.2.1", Some((&["spiffe://e/gateways/one"], &[]))),
            peer("192.0.2.1", Some((&[], &["a", "proxy"]))),
        ];
        for peer in &trusted {
            assert_eq!(identified(peer, &xfcc), known(WEB), "{peer:?}");
            assert_eq!(identified(peer, &[]), Identity::Unknown(Denial::NotForwarded), "not the proxy itself");
            let empty = [("x-forwarded-client-cert", "By=spiffe://e/x;Hash=1")];
            assert_eq!(identified(peer, &empty), Identity::Unknown(Denial::NotForwarded));
            let broken = [("x-forwarded-client-cert", "URI=\"spiffe://e/x")];
            assert_eq!(identified(peer, &broken), Identity::Unknown(Denial::ForwardedMalformed));
            let two = [("x-forwarded-client-cert", "URI=spiffe://e/x;URI=spiffe://e/y")];
            assert_eq!(identified(peer, &two), Identity::Unknown(Denial::SeveralUris));
        }
        let stranger = Identity::Unknown(Denial::NoCredential);
        assert_eq!(identified(&peer("192.0.2.1", None), &xfcc), stranger);
        assert_eq!(
            identified(&peer("192.0.2.1", Some((&["spiffe://e/other"], &[]))), &xfcc),
            known("spiffe://e/other")
        );
        let two_uris = peer("192.0.2.1", Some((&["spiffe://e/gateways/one", "spiffe://e/gateways/two"], &[])));
        assert_eq!(identified(&two_uris, &xfcc), Identity::Unknown(Denial::SeveralUris));
    }

    #[test]
    fn a_service_token_names_the_caller_before_all_else_and_another_bearer_says_nothing() {
        let web = peer("192.0.2.1", Some((&[WEB], &[])));
        let token = |token: &str| format!("Bearer {token}");
        let (admin, deploy) = (token(ADMIN), token(DEPLOY));
        for (headers, expected) in [
            (&[admin.as_str()][..], Identity::Admin),
            (&[&deploy], known("token:deploy")),
            (&[&deploy.replace("Bearer", "bearer")], known("token:deploy")),
            (&[&format!("{deploy}x")], known(WEB)),
            (&["Bearer eyJhbGciOiJFZERTQSJ9.e30.x"], known(WEB)),
            (&["Bearer "], known(WEB)),
            (&[DEPLOY], known(WEB)),
            (&["Basic x"], known(WEB)),
            (&[&deploy, &deploy], known(WEB)),
            (&[""], known(WEB)),
        ] {
            let headers: Vec<_> = headers.iter().map(|header| ("authorization", *header)).collect();
            assert_eq!(identified(&web, &headers), expected, "{headers:?}");
        }
    }
}
