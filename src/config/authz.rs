//! Proxies that ask about requests (Envoy's ext_authz, forward auth), and browsers that keep sessions in cookies.

use std::time::Duration;

use clap::Args;

use super::{names::one_of, range::Range, violations::Violations};
use crate::domain::{
    policy::{AuthzPolicy, BrowserSessions, ForwardAuth},
    proxy_lists::ProxyLists,
};

const FORWARD_AUTH: [(&str, ForwardAuth); 5] = [
    ("off", ForwardAuth::Off),
    ("token", ForwardAuth::Token),
    ("x-original", ForwardAuth::XOriginal),
    ("x-forwarded", ForwardAuth::XForwarded),
    ("path", ForwardAuth::Path),
];
const BROWSER_SESSIONS: [(&str, BrowserSessions); 3] = [
    ("off", BrowserSessions::Off),
    ("endpoints", BrowserSessions::Endpoints),
    ("login-page", BrowserSessions::LoginPage),
];
const PROXY_LISTS: [(&str, ProxyLists); 2] = [("names", ProxyLists::Names), ("exact", ProxyLists::Exact)];
const PROXY_TTL: Range<Duration> = Range::time("proxy-ttl", Duration::from_secs(2), Duration::from_secs(300));
const NAME: &str = "1 to 64 letters, digits and - _";
const ORIGIN: &str =
    "http(s)://host[:port] each, as browsers write it: lower case, no default port, no slash at the end";

/// Settings of answers to proxies, and of sessions of browsers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Proxies and browsers")]
pub struct AuthzSettings {
    /// Answers at /forward-auth whether a request may pass; the value says how the proxy names that request
    #[arg(long, env = "COUNTERSIGN_FORWARD_AUTH", default_value = "off", value_parser = one_of(&FORWARD_AUTH))]
    pub forward_auth: ForwardAuth,

    /// Beginning of the names of headers that say whose a request is
    #[arg(long, env = "COUNTERSIGN_AUTH_HEADER_PREFIX", default_value = "x-auth-")]
    pub auth_header_prefix: String,

    /// Cookie that may hold an access token
    #[arg(long, env = "COUNTERSIGN_ACCESS_COOKIE", default_value = "__Host-countersign-access")]
    pub access_cookie: String,

    /// Cookie that holds a browser's refresh token
    #[arg(long, env = "COUNTERSIGN_REFRESH_COOKIE", default_value = "__Host-countersign-refresh")]
    pub refresh_cookie: String,

    /// Query parameter that may hold an access token, for WebSockets of pages without cookies
    #[arg(long, env = "COUNTERSIGN_TOKEN_QUERY_PARAMETER")]
    pub token_query_parameter: Option<String>,

    #[arg(
        long,
        env = "COUNTERSIGN_PROXY_TTL",
        default_value = "10s",
        value_parser = humantime::parse_duration,
        help = PROXY_TTL.help("Time after which a proxy that verifies tokens by itself refuses them, if it hears nothing")
    )]
    pub proxy_ttl: Duration,

    /// Form in which such a proxy is told what has ended: by Envoy's matcher of names, or by its stable and larger maps
    #[arg(long, env = "COUNTERSIGN_PROXY_LISTS", default_value = "names", value_parser = one_of(&PROXY_LISTS))]
    pub proxy_lists: ProxyLists,

    /// Removes the access token from the requests that Envoy passes on
    #[arg(long, env = "COUNTERSIGN_REMOVE_TOKEN")]
    pub remove_token: bool,

    /// Serves sessions in cookies on the HTTP port: /session for scripts of pages, and with login-page /login too
    #[arg(long, env = "COUNTERSIGN_BROWSER_SESSIONS", default_value = "off", value_parser = one_of(&BROWSER_SESSIONS))]
    pub browser_sessions: BrowserSessions,

    /// Other origins whose pages may use /session, and to which a login may return; several times, or with commas
    #[arg(long, env = "COUNTERSIGN_ALLOWED_ORIGIN", value_delimiter = ',')]
    pub allowed_origin: Vec<String>,
}

impl AuthzSettings {
    pub(super) fn check(self, violations: &mut Violations) -> AuthzPolicy {
        violations.require(
            is_header(&self.auth_header_prefix),
            "auth-header-prefix",
            "1 to 64 lower-case letters, digits and -",
        );
        violations.require(is_name(&self.access_cookie), "access-cookie", NAME);
        let differs = is_name(&self.refresh_cookie) && self.refresh_cookie != self.access_cookie;
        violations.require(differs, "refresh-cookie", "1 to 64 letters, digits and - _, not the name of access-cookie");
        let parameter = self.token_query_parameter.as_deref();
        violations.require(parameter.is_none_or(is_name), "token-query-parameter", NAME);
        violations.require(self.allowed_origin.iter().all(|origin| is_origin(origin)), "allowed-origin", ORIGIN);
        AuthzPolicy {
            header_prefix: self.auth_header_prefix,
            access_cookie: self.access_cookie,
            refresh_cookie: self.refresh_cookie,
            query_parameter: self.token_query_parameter,
            proxy_ttl: PROXY_TTL.check(self.proxy_ttl, violations),
            proxy_lists: self.proxy_lists,
            remove_token: self.remove_token,
            forward_auth: self.forward_auth,
            browser_sessions: self.browser_sessions,
            allowed_origins: self.allowed_origin,
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_header(text: &str) -> bool {
    is_name(text) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// An origin as the header Origin has it (RFC 6454 section 6.2).
fn is_origin(text: &str) -> bool {
    let (host, default_port) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(host), _) => (host, ":443"),
        (None, Some(host)) => (host, ":80"),
        (None, None) => return false,
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(plain) && !host.ends_with(default_port) && !host.ends_with([':', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_one_as_browsers_write_it() {
        for good in ["https://app.example", "http://localhost:3000", "https://[::1]:8443", "http://10.0.0.1"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "null",
            "*",
            "app.example",
            "https://",
            "https://App.example",
            "https://a/",
            "https://a:443",
            "http://a:80",
            "https://a/x",
            "https://*.a",
            "https://u@a",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_headers_and_cookies_are_plain() {
        assert!(is_name("__Host-x") && is_header("x-auth-"));
        for bad in ["", "a b", "a;b", "a=b", "a\u{e4}", &"x".repeat(65)] {
            assert!(!is_name(bad) && !is_header(bad), "{bad}");
        }
        assert!(!is_header("X-Auth-") && !is_header("x_auth_"));
    }
}
