//! The callers of a server: the policy that lists them, the administrators' token, and what holds without a list.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::permission::{Permission, rpcs_of};
use crate::{config::FilePolicy, crypto::service_token::ServiceTokenHash, domain::caller_policy::Grants};

/// The callers of a server, and what they may do.
#[derive(Clone, Debug)]
pub struct Callers {
    /// Grants as long as no policy file lists callers.
    pub defaults: Defaults,
    /// The token of `token:admin`, who may do everything, as it is by now.
    pub admin_token: Option<Arc<ArcSwap<ServiceTokenHash>>>,
    /// The policy file that is in force, if there is one.
    pub policy: Option<Arc<ArcSwap<FilePolicy>>>,
}

/// The grants of callers where no policy file lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// Everybody may call all but what is for administrators: for a port that a mesh or a network guards.
    Open,
    /// Each caller with an identity may verify tokens, and nobody may do anything else: for a port with a client CA.
    MutualTls,
    /// Everybody on this machine may do everything.
    Loopback,
}

impl Callers {
    /// Callers without a policy file.
    pub fn new(defaults: Defaults, admin_token: Option<ServiceTokenHash>) -> Self {
        let admin_token = admin_token.map(|token| Arc::new(ArcSwap::from_pointee(token)));
        Self { defaults, admin_token, policy: None }
    }
}

impl Defaults {
    /// The grants of a caller that these defaults mean.
    pub(super) fn grants(self) -> Grants {
        match self {
            Self::Open => {
                let rpcs = rpcs_of(&[Permission::Verify, Permission::Session]);
                Grants { name_client_addresses: true, ..Grants::of(rpcs) }
            }
            Self::MutualTls => Grants::of(rpcs_of(&[Permission::Verify])),
            Self::Loopback => Grants::everything(),
        }
    }
}
