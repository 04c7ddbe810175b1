//! The caller of an RPC, as handlers are given it. What depends on the content of a request they ask it.

use std::{net::IpAddr, sync::Arc};

use http::Extensions;

use super::{
    identity::Identity,
    monitor::{Limited, Monitor},
};
use crate::{
    domain::{
        caller_policy::{CallerPolicy, Grants, RefreshingCaller},
        rpc::Rpc,
        session::{ClientInfo, DEFAULT_CLIENT_ID},
    },
    error::Error,
    net::network,
};

/// The client_id of sessions that the administrators' token opens.
const ADMIN_CLIENT_ID: &str = "token:admin";

/// The caller of an RPC that it may call. Handlers are given one, and can make none.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(super) rpc: Rpc,
    pub(super) identity: Identity,
    pub(super) peer: Option<IpAddr>,
    pub(super) grants: Arc<Grants>,
    pub(super) policy: Option<Arc<CallerPolicy>>,
    pub(super) monitor: Arc<Monitor>,
}

impl Caller {
    /// The caller that sent the request of these extensions.
    ///
    /// # Errors
    /// [`Error::Internal`] for a request that was let in without being looked at.
    pub fn of(extensions: &Extensions) -> Result<Self, Error> {
        extensions.get().cloned().ok_or_else(|| Error::internal("a request without a caller"))
    }

    /// Claim client_id of the sessions that it opens.
    pub fn client_id(&self) -> String {
        let id = match &self.identity {
            Identity::Admin => ADMIN_CLIENT_ID,
            Identity::Known(id) => id.as_str(),
            Identity::Unknown(_) => DEFAULT_CLIENT_ID,
        };
        id.to_owned()
    }

    /// The name by which its streams are counted: its identity, or else its address; None if it has neither.
    pub fn holder(&self) -> Option<String> {
        match (&self.identity, self.peer) {
            (Identity::Admin | Identity::Known(_), _) => Some(self.client_id()),
            (Identity::Unknown(_), peer) => peer.map(|addr| network(addr).to_string()),
        }
    }

    /// The caller as one that refreshes.
    pub fn refreshing(&self) -> RefreshingCaller {
        RefreshingCaller { client_id: self.client_id(), policy: self.policy.clone() }
    }

    /// The error of one that may not do this, which is noted.
    pub fn refused(&self) -> Error {
        self.monitor.refuse(self.rpc, &self.identity, self.peer)
    }

    fn require(&self, holds: bool) -> Result<(), Error> {
        if holds { Ok(()) } else { Err(self.refused()) }
    }

    /// Passes if it may end sessions that it names by their id, or by their user's.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`].
    pub fn may_revoke_by_id(&self) -> Result<(), Error> {
        self.require(self.grants.revoke_by_id)
    }

    /// Passes if it may give these roles to users.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`].
    pub fn may_give(&self, roles: &[String]) -> Result<(), Error> {
        let allowed = self.grants.roles.as_ref();
        self.require(allowed.is_none_or(|allowed| roles.iter().all(|role| allowed.contains(role))))
    }

    /// The audiences of a Login that asks for these: if for none, all that it may have of those that the server offers.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`] for another, or if there are none that it may have.
    pub fn audiences(&self, asked: Vec<String>, offered: &[String]) -> Result<Vec<String>, Error> {
        let Some(allowed) = &self.grants.audiences else {
            return Ok(asked);
        };
        let chosen = if asked.is_empty() {
            offered.iter().filter(|audience| allowed.contains(audience)).cloned().collect()
        } else {
            asked
        };
        self.require(!chosen.is_empty() && chosen.iter().all(|audience| allowed.contains(audience)))?;
        Ok(chosen)
    }

    /// The client behind a session as far as this caller is believed: of another caller an address counts for nothing.
    pub fn believed(&self, client: ClientInfo) -> ClientInfo {
        if self.grants.name_client_addresses { client } else { ClientInfo { ip: String::new(), ..client } }
    }

    /// Counts the tokens of a batch against the limit of the caller.
    ///
    /// # Errors
    /// [`Error::CallerThrottled`].
    pub fn count_verified(&self, tokens: usize) -> Result<(), Error> {
        let count = u32::try_from(tokens).unwrap_or(u32::MAX);
        let limit = self.grants.verify_rate;
        limit.map_or(Ok(()), |limit| self.monitor.count(&self.identity, Limited::Verify, limit, count))
    }
}
