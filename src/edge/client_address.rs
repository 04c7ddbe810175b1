//! The address of an end user's client, as trusted proxies report it in header X-Forwarded-For. Each proxy adds the address of who is
//! connected to it at the end. So the last one that is no trusted proxy's is the client's.

use std::sync::Once;

use http::HeaderMap;

use super::identity::is_trusted_proxy;
use crate::{
    domain::{address::ClientAddress, caller_policy::CallerPolicy},
    net::Peer,
};

const HEADER: &str = "x-forwarded-for";

/// The address of the client behind a request; None if a trusted proxy did not say one that can be read. Without any trusted
/// proxies, a peer that names a client is a proxy that nobody has listed: its own address would be taken for everybody's.
pub fn client_address(policy: Option<&CallerPolicy>, peer: &Peer, headers: &HeaderMap) -> Option<ClientAddress> {
    let direct = peer.addr.and_then(|addr| ClientAddress::parse(&addr.to_string()));
    let proxies = policy.map(|policy| &policy.proxies);
    if proxies.is_none_or(|proxies| proxies.ids.is_empty() && proxies.networks.is_empty())
        && headers.contains_key(HEADER)
    {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            tracing::warn!(
                "a proxy that is not among the trusted_proxies of the policy file passes on logins: guesses are not counted by address"
            );
        });
        return None;
    }
    let Some(policy) = policy.filter(|policy| is_trusted_proxy(policy, peer)) else {
        return direct;
    };
    let mut last = direct;
    for value in headers.get_all(HEADER).iter().rev() {
        for text in value.to_str().ok()?.rsplit(',') {
            last = Some(ClientAddress::parse(text)?);
            let is_proxy = last.is_some_and(|address| policy.proxies.has_address(Some(address.ip())));
            if !is_proxy {
                return last;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{caller_policy::TrustedProxies, network::Network};

    fn found(peer: &str, forwarded: &[&str]) -> Option<String> {
        let networks = vec![Network::parse("10.0.0.0/8").expect("a network")];
        let proxies = TrustedProxies { networks, ..TrustedProxies::default() };
        let policy = CallerPolicy { proxies, ..CallerPolicy::default() };
        let peer = Peer { addr: peer.parse().ok(), ..Peer::default() };
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(HEADER, value.parse().expect("a header"));
        }
        client_address(Some(&policy), &peer, &headers).map(|address| address.to_string())
    }

    #[test]
    fn a_proxy_that_nobody_has_listed_does_not_make_all_its_clients_one() {
        let peer = Peer { addr: "192.0.2.1".parse().ok(), ..Peer::default() };
        let mut headers = HeaderMap::new();
        let of = |headers: &HeaderMap| client_address(None, &peer, headers).map(|address| address.to_string());
        assert_eq!(of(&headers).as_deref(), Some("192.0.2.1"));
        headers.append(HEADER, "203.0.113.9".parse().expect("a header"));
        assert_eq!(of(&headers), None);
    }

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_is_the_client() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["203.0.113.9"][..], Some("192.0.2.1")),
            ("10.0.0.1", &["203.0.113.9"], Some("203.0.113.9")),
            ("10.0.0.1", &["1.2.3.4, 203.0.113.9, 10.0.0.2"], Some("203.0.113.9")),
            ("10.0.0.1", &["1.2.3.4", "203.0.113.9:1234"], Some("203.0.113.9")),
            ("10.0.0.1", &["10.0.0.3"], Some("10.0.0.3")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            ("10.0.0.1", &["1.2.3.4, unknown"], None),
            ("10.0.0.1", &["unknown, 1.2.3.4"], Some("1.2.3.4")),
            ("::ffff:10.0.0.1", &["2001:db8::1"], Some("2001:db8::1")),
            ("", &["1.2.3.4"], None),
        ] {
            assert_eq!(found(peer, forwarded).as_deref(), expected, "{peer} {forwarded:?}");
        }
    }
}
