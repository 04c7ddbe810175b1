//! The route policy: what a request needs that a proxy asks about, by its host, path and method. The first rule that matches
//! decides. A request that no rule means needs a valid token.

use super::route_path::RoutePath;

/// The least that a request needs. A later one is stricter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing: no token is looked at.
    Public,
    /// No token, or a valid one.
    Optional,
    /// A valid token.
    #[default]
    Authenticated,
}

/// The demands on a request and its token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The least that the request needs.
    pub access: Access,
    /// Audiences that the token must carry, all of them.
    pub audiences: Vec<String>,
    /// Lists of roles; the token must have one of each list.
    pub roles_any: Vec<Vec<String>>,
    /// Roles that the token must have, all of them.
    pub roles_all: Vec<String>,
}

/// A rule of the route policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Hosts that it is for; empty for all.
    pub hosts: Vec<HostPattern>,
    /// The path that it is for, with all below; None for all.
    pub path: Option<String>,
    /// Methods that it is for; empty for all.
    pub methods: Vec<String>,
    /// The demands of such a request.
    pub demand: Demand,
    /// Line of the file on which the rule begins.
    pub line: usize,
}

/// The rules, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePolicy(pub Vec<Route>);

/// A path or a host that servers may read in different ways, so that no rule can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl RoutePolicy {
    /// The first rule that means a request; None if none does. The path is without the query.
    ///
    /// # Errors
    /// [`Ambiguous`], if there are rules at all.
    pub fn find(&self, host: &str, path: &str, method: &str) -> Result<Option<&Route>, Ambiguous> {
        if self.0.is_empty() {
            return Ok(None);
        }
        // Two headers Host are one list by the time that they are seen here.
        if self.0.iter().any(|route| !route.hosts.is_empty()) && !is_host(host) {
            return Err(Ambiguous);
        }
        let (host, path) = (host_name(host), RoutePath::parse(path).ok_or(Ambiguous)?);
        Ok(self.0.iter().find(|route| route.means(&host, &path, method)))
    }
}

impl Route {
    fn means(&self, host: &str, path: &RoutePath<'_>, method: &str) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.means(host)))
            && self.path.as_deref().is_none_or(|prefix| path.is_below(prefix))
            && (self.methods.is_empty() || self.methods.iter().any(|known| known == method))
    }
}

impl Demand {
    /// The demands of both. Where both say which access is needed, the stricter counts.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.access = self.access.max(other.access);
        self.audiences.extend(other.audiences);
        self.roles_any.extend(other.roles_any);
        self.roles_all.extend(other.roles_all);
        self
    }

    /// True if the token must have roles.
    pub fn asks_for_roles(&self) -> bool {
        !self.roles_any.is_empty() || !self.roles_all.is_empty()
    }

    /// True if roles are enough.
    pub fn is_met_by(&self, roles: &[String]) -> bool {
        let has = |role: &String| roles.contains(role);
        self.roles_all.iter().all(has) && self.roles_any.iter().all(|list| list.iter().any(has))
    }
}

/// A host, or all below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// One host.
    Exact(String),
    /// The hosts below a domain: `.example.com` of `*.example.com`.
    Below(String),
}

impl HostPattern {
    /// Reads `shop.example.com` or `*.example.com`, without a port.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix('*').unwrap_or(text);
        let is_name = is_host(name) && host_name(name) == name.to_ascii_lowercase();
        match (is_name, text.starts_with('*')) {
            (true, false) if !name.starts_with('.') => Some(Self::Exact(name.to_ascii_lowercase())),
            (true, true) if name.len() > 1 && name.starts_with('.') => Some(Self::Below(name.to_ascii_lowercase())),
            _ => None,
        }
    }

    fn means(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

/// True for one host, perhaps with a port.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !text.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit()));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_name = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.chars().all(plain) && !name.contains(".."),
    };
    is_port && is_name
}

/// The name of a host without its port and the dot at its end, in lower case.
fn host_name(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        // An IPv6 address is in brackets, and its port behind them.
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: &str, path: &str, methods: &[&str], line: usize) -> Route {
        Route {
            hosts: HostPattern::parse(host).into_iter().collect(),
            path: (!path.is_empty()).then(|| path.to_owned()),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            line,
            ..Route::default()
        }
    }

    fn found(policy: &RoutePolicy, host: &str, path: &str, method: &str) -> Result<Option<usize>, Ambiguous> {
        policy.find(host, path, method).map(|route| route.map(|route| route.line))
    }

    #[test]
    fn the_first_rule_that_means_a_request_decides() {
        let policy = RoutePolicy(vec![
            route("shop.example.com", "/public", &["GET", "HEAD"], 1),
            route("*.example.com", "/public", &[], 2),
            route("", "/admin", &[], 3),
            route("[::1]", "", &[], 4),
        ]);
        for (host, path, method, expected) in [
            ("shop.example.com", "/public/x", "GET", Some(1)),
            ("SHOP.Example.com.:8443", "/public", "HEAD", Some(1)),
            ("shop.example.com", "/public", "POST", Some(2)),
            ("shop.example.com", "/public", "get", Some(2)),
            ("a.b.example.com", "/public", "GET", Some(2)),
            ("example.com", "/public", "GET", None),
            ("badexample.com", "/public", "GET", None),
            ("shop.example.com", "/publicity", "GET", None),
            ("shop.example.com", "/Public", "GET", None),
            ("other", "/admin/", "DELETE", Some(3)),
            ("[::1]:8080", "/x", "GET", Some(4)),
            ("[::1]", "/x", "GET", Some(4)),
        ] {
            assert_eq!(found(&policy, host, path, method), Ok(expected), "{host}{path} {method}");
        }
    }

    #[test]
    fn an_ambiguous_path_is_refused_where_there_are_rules() {
        let by_host = RoutePolicy(vec![route("a.example.com", "", &[], 1)]);
        for host in [
            "",
            "a.example.com,b.example.com",
            "a.example.com b",
            "a@b",
            "a.example.com..",
            "a:80:80",
            "a:x",
            "[::1",
            "a:",
        ] {
            assert_eq!(found(&by_host, host, "/", "GET"), Err(Ambiguous), "{host}");
        }
        let rules = RoutePolicy(vec![route("", "/public", &[], 1)]);
        assert_eq!(found(&rules, "", "/public", "GET"), Ok(Some(1)), "no rule asks for it");
        assert_eq!(found(&rules, "h", "/public/../admin", "GET"), Err(Ambiguous));
        assert_eq!(found(&RoutePolicy::default(), "h", "/public/../admin", "GET"), Ok(None));
    }

    #[test]
    fn what_is_no_host_is_none() {
        for text in ["", "*", "*.", "*example.com", "a:80", "a/b", ".example.com", "example.com.", "a.*.b"] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_demands_of_two_hold_together() {
        let some = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let one = Demand { access: Access::Optional, roles_any: vec![some(&["a", "b"])], ..Demand::default() };
        let other = Demand { roles_any: vec![some(&["c"])], roles_all: some(&["d"]), ..Demand::default() };
        let both = one.and(other);
        assert_eq!(both.access, Access::Authenticated);
        for (roles, met) in [(&["a", "c", "d"][..], true), (&["a", "d"], false), (&["b", "c"], false), (&[], false)] {
            assert_eq!(both.is_met_by(&some(roles)), met, "{roles:?}");
        }
        assert!(Demand::default().is_met_by(&[]));
    }
}
