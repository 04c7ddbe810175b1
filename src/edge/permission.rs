//! Permissions: what each RPC is about, in one table. A caller that no list of callers names may call by these.

use crate::domain::rpc::{Rpc, RpcSet};

/// Kinds of RPCs, by what a caller needs them for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Verification: a service checks the tokens that others send it.
    Verify,
    /// Sessions of end users: the request carries what proves that it may.
    Session,
    /// Administration.
    Administer,
}

/// The kind of each RPC.
pub(super) const fn permission(rpc: Rpc) -> Permission {
    match rpc {
        Rpc::Verify
        | Rpc::Check
        | Rpc::VerifyBatch
        | Rpc::GetJwks
        | Rpc::WatchRevocations
        | Rpc::DeltaExtensionConfigs
        | Rpc::DeltaAggregatedResources => Permission::Verify,
        // A Revoke by id asks for more: `Caller::may_revoke_by_id`.
        Rpc::Login | Rpc::Refresh | Rpc::Revoke => Permission::Session,
        Rpc::ListSessions
        | Rpc::CreateUser
        | Rpc::GetUser
        | Rpc::ListUsers
        | Rpc::UpdateUser
        | Rpc::DeleteUser
        | Rpc::SetPassword
        | Rpc::ChangePassword
        | Rpc::ImportUsers => Permission::Administer,
    }
}

/// The RPCs of these kinds.
pub(super) fn rpcs_of(kinds: &[Permission]) -> RpcSet {
    Rpc::ALL.iter().copied().filter(|rpc| kinds.contains(&permission(*rpc))).collect()
}
