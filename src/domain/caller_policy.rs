//! The policy of callers: what each identity may ask for. It is prepared for look-ups, and replaced as a whole.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{
    caller::{CallerId, CallerPattern},
    network::Network,
    rate::RateLimit,
    rpc::{Rpc, RpcSet},
};

/// The policy of callers.
#[derive(Debug, Default)]
pub struct CallerPolicy {
    /// Grants of the callers that are listed; None if no list is given, and the server's defaults hold.
    pub callers: Option<Patterns<Arc<Grants>>>,
    /// Service tokens.
    pub tokens: Vec<ServiceToken>,
    /// Proxies that are believed when they name their clients.
    pub proxies: TrustedProxies,
}

/// The grants of an entry: what a caller that it means may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// RPCs that it may call.
    pub rpcs: RpcSet,
    /// Audiences that its Logins may ask for; None for all that the server has.
    pub audiences: Option<Vec<String>>,
    /// Roles that it may give to users; None for any.
    pub roles: Option<Vec<String>>,
    /// May it end sessions that it names by their id, or by their user's?
    pub revoke_by_id: bool,
    /// Is it believed when it names the address of an end user's client?
    pub name_client_addresses: bool,
    /// Are the sessions that it opens refreshed for nobody else?
    pub bind_sessions: bool,
    /// Most Logins.
    pub login_rate: Option<RateLimit>,
    /// Most access tokens that it has verified.
    pub verify_rate: Option<RateLimit>,
    /// Line of the file on which the entry begins; 0 for grants that no file gives.
    pub line: usize,
}

impl Grants {
    /// Grants of everything.
    pub fn everything() -> Self {
        Self { revoke_by_id: true, name_client_addresses: true, ..Self::of(Rpc::ALL.iter().copied().collect()) }
    }

    /// Grants of these RPCs, and no more than each needs.
    pub fn of(rpcs: RpcSet) -> Self {
        Self { rpcs, ..Self::default() }
    }
}

/// A service token, of which the SHA-256 is known.
#[derive(Debug)]
pub struct ServiceToken {
    /// Identity of a caller that has it.
    pub id: CallerId,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
}

/// The proxies that are believed when they name their clients.
#[derive(Debug, Default)]
pub struct TrustedProxies {
    /// Proxies by the identity in their certificate.
    pub ids: Patterns<()>,
    /// Proxies by their network address.
    pub networks: Vec<Network>,
}

impl TrustedProxies {
    /// True if a peer of this address is one of them.
    pub fn has_address(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.networks.iter().any(|network| network.contains(address)))
    }
}

/// Values by patterns of identities. The most specific pattern counts, and no other.
#[derive(Debug)]
pub struct Patterns<T> {
    exact: HashMap<CallerId, T>,
    below: HashMap<Box<str>, T>,
    anyone: Option<T>,
}

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), anyone: None }
    }
}

impl<T> Patterns<T> {
    /// Adds a value; gives back the one that the same pattern had.
    pub fn insert(&mut self, pattern: CallerPattern, value: T) -> Option<T> {
        match pattern {
            CallerPattern::Exact(id) => self.exact.insert(id, value),
            CallerPattern::Below(prefix) => self.below.insert(prefix, value),
            CallerPattern::Anyone => self.anyone.replace(value),
        }
    }

    /// The value of the most specific pattern that means a caller: the identity, the longest prefix, then anyone.
    pub fn find(&self, caller: Option<&CallerId>) -> Option<&T> {
        caller.and_then(|id| self.find_named(id)).or(self.anyone.as_ref())
    }

    /// The same without anyone.
    pub fn find_named(&self, id: &CallerId) -> Option<&T> {
        let below = || id.prefixes().find_map(|prefix| self.below.get(prefix));
        self.exact.get(id).or_else(below)
    }

    /// Number of patterns.
    pub fn len(&self) -> usize {
        self.exact.len() + self.below.len() + usize::from(self.anyone.is_some())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.below.values()).chain(&self.anyone)
    }
}

/// The caller of a Refresh, and the policy that says whose sessions it may not refresh (REQUIREMENTS R33).
#[derive(Clone, Debug, Default)]
pub struct RefreshingCaller {
    /// Claim client_id of the sessions that the caller opens.
    pub client_id: String,
    /// The policy, if there is one.
    pub policy: Option<Arc<CallerPolicy>>,
}

impl RefreshingCaller {
    /// The client_id whose sessions alone may be refreshed without a look at the policy; None for any, because none is bound.
    pub fn only(&self) -> Option<String> {
        let callers = self.policy.as_ref()?.callers.as_ref()?;
        callers.values().any(|grants| grants.bind_sessions).then(|| self.client_id.clone())
    }

    /// True if the caller may refresh a session of this client_id.
    pub fn may_refresh(&self, client_id: &str) -> bool {
        let bound = || {
            let callers = self.policy.as_ref()?.callers.as_ref()?;
            callers.find(Some(&CallerId::parse(client_id)?)).map(|grants| grants.bind_sessions)
        };
        client_id == self.client_id || !bound().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&'static str]) -> Patterns<&'static str> {
        let mut patterns = Patterns::default();
        for text in texts {
            assert_eq!(patterns.insert(CallerPattern::parse(text).expect(text), *text), None);
        }
        patterns
    }

    fn id(text: &str) -> CallerId {
        CallerId::parse(text).expect(text)
    }

    #[test]
    fn the_most_specific_pattern_counts() {
        let all = ["spiffe://e/*", "spiffe://e/ns/shop/*", "spiffe://e/ns/shop/web", "dns:a.b", "anyone"];
        let patterns = patterns(&all);
        for (caller, expected) in [
            ("spiffe://e/ns/shop/web", "spiffe://e/ns/shop/web"),
            ("spiffe://e/ns/shop/web/x", "spiffe://e/ns/shop/*"),
            ("spiffe://e/ns/shop", "spiffe://e/*"),
            ("spiffe://e/ns/shopping/web", "spiffe://e/*"),
            ("spiffe://e.f/ns/shop/web", "anyone"),
            ("dns:a.b", "dns:a.b"),
            ("dns:a.b.c", "anyone"),
            ("token:x", "anyone"),
        ] {
            assert_eq!(patterns.find(Some(&id(caller))), Some(&expected), "{caller}");
        }
        assert_eq!((patterns.find(None), patterns.len()), (Some(&"anyone"), all.len()));
        assert_eq!(patterns.find_named(&id("token:x")), None);
    }

    #[test]
    fn a_pattern_that_comes_again_gives_back_what_it_had() {
        for text in ["spiffe://e/*", "dns:a", "anyone"] {
            let mut patterns = patterns(&[text]);
            assert_eq!(patterns.insert(CallerPattern::parse(text).expect(text), "new"), Some(text));
        }
    }

    #[test]
    fn r33_a_bound_session_is_its_clients_and_others_are_anybodys() {
        let mut callers = Patterns::default();
        for (pattern, bind_sessions) in [("spiffe://e/*", true), ("spiffe://e/free", false), ("dns:a", false)] {
            let grants = Grants { bind_sessions, ..Grants::default() };
            callers.insert(CallerPattern::parse(pattern).expect(pattern), Arc::new(grants));
        }
        let policy = Arc::new(CallerPolicy { callers: Some(callers), ..CallerPolicy::default() });
        let caller = |client_id: &str| RefreshingCaller { client_id: client_id.into(), policy: Some(policy.clone()) };
        for (session, refreshing, allowed) in [
            ("spiffe://e/web", "spiffe://e/web", true),
            ("spiffe://e/web", "spiffe://e/other", false),
            ("spiffe://e/web", "default", false),
            ("spiffe://e/free", "spiffe://e/web", true),
            ("dns:a", "token:admin", true),
            ("default", "spiffe://e/web", true),
        ] {
            assert_eq!(caller(refreshing).may_refresh(session), allowed, "{session} {refreshing}");
            assert_eq!(caller(refreshing).only().as_deref(), Some(refreshing));
        }
        let nothing_is_bound = RefreshingCaller { client_id: "default".into(), policy: None };
        assert!(nothing_is_bound.may_refresh("spiffe://e/web") && nothing_is_bound.only().is_none());
    }
}
