//! The browser behind a request, as sessions remember it.

use axum::{
    extract::{Extension, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

use super::super::readiness::{Built, Readiness};
use crate::{
    authz::{
        Authorizer,
        cookies::{Cookies, Several},
    },
    domain::session::ClientInfo,
    edge::{CalledBy, client_address},
    net::Peer,
};

/// A request of a browser, and all that is needed to answer it.
pub(super) struct Browser {
    pub authorizer: Authorizer,
    pub headers: HeaderMap,
    /// The address and user agent.
    pub client: ClientInfo,
    /// The caller as the log names it: the other end of the connection.
    pub by: CalledBy,
}

impl FromRequestParts<Readiness> for Browser {
    type Rejection = <Built as FromRequestParts<Readiness>>::Rejection;

    async fn from_request_parts(parts: &mut Parts, readiness: &Readiness) -> Result<Self, Self::Rejection> {
        let Built(authorizer) = Built::from_request_parts(parts, readiness).await?;
        let peer = Extension::<Peer>::from_request_parts(parts, readiness).await.map(|Extension(peer)| peer);
        let peer = peer.unwrap_or_default();
        let policy = authorizer.browser().policy;
        let address = client_address(policy.as_deref(), &peer, &parts.headers);
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        // An address that was read before is one.
        let client = ClientInfo::parse(&address, agent, "").unwrap_or_default();
        Ok(Self { authorizer, headers: parts.headers.clone(), client, by: CalledBy::peer(peer.addr) })
    }
}

impl Browser {
    /// The headers Cookie.
    pub(super) fn cookie_headers(&self) -> Vec<&[u8]> {
        self.headers.get_all(header::COOKIE).iter().map(|value| value.as_bytes()).collect()
    }

    /// The cookies of ours.
    ///
    /// # Errors
    /// [`Several`] of one name.
    pub(super) fn cookies(&self) -> Result<Cookies<'_>, Several> {
        Cookies::read(&self.cookie_headers(), &self.authorizer.policy)
    }
}
