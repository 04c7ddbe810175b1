//! The choices of a deployment that chooses nothing, for tests.

use std::time::Duration;

use crate::domain::{
    policy::{AuthzPolicy, BrowserSessions, ForwardAuth},
    proxy_lists::ProxyLists,
};

pub(super) fn policy() -> AuthzPolicy {
    AuthzPolicy {
        header_prefix: "x-auth-".to_owned(),
        access_cookie: "__Host-countersign-access".to_owned(),
        refresh_cookie: "__Host-countersign-refresh".to_owned(),
        query_parameter: None,
        proxy_ttl: Duration::from_secs(10),
        proxy_lists: ProxyLists::Names,
        remove_token: false,
        forward_auth: ForwardAuth::Off,
        browser_sessions: BrowserSessions::Off,
        allowed_origins: Vec::new(),
    }
}
