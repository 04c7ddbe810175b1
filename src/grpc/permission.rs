//! Permissions: what each RPC asks of its caller, in one table. It is consulted before a handler is reached; an RPC that is not
//! in it cannot be called.

use std::sync::Arc;

use http::Request;
use tonic::Status;

use super::{caller::Administration, status::status};
use crate::auth::Auth;

/// The RPCs that the table has. Those of other packages are tonic's (health, reflection), and open to everybody.
const PACKAGE: &str = "/countersign.v1.";

/// A demand of an RPC on its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permission {
    /// Nothing: what the request carries proves what it has to.
    Anyone,
    /// The caller has to be an administrator.
    Administrator,
    /// The caller has to hold the token that is named, or be an administrator if something is named by its id. The
    /// handler, which has read the request, asks the [`Caller`](super::caller::Caller).
    HolderOrAdministrator,
}

/// The demand of each RPC of the contract.
const TABLE: [(&str, Permission); 16] = [
    ("AuthService/Login", Permission::Anyone),
    ("AuthService/Verify", Permission::Anyone),
    ("AuthService/VerifyBatch", Permission::Anyone),
    ("AuthService/Refresh", Permission::Anyone),
    ("AuthService/Revoke", Permission::HolderOrAdministrator),
    ("AuthService/ListSessions", Permission::Administrator),
    ("AuthService/GetJwks", Permission::Anyone),
    ("AuthService/WatchRevocations", Permission::Anyone),
    ("UserService/CreateUser", Permission::Administrator),
    ("UserService/GetUser", Permission::Administrator),
    ("UserService/ListUsers", Permission::Administrator),
    ("UserService/UpdateUser", Permission::Administrator),
    ("UserService/DeleteUser", Permission::Administrator),
    ("UserService/SetPassword", Permission::Administrator),
    ("UserService/ChangePassword", Permission::Administrator),
    ("UserService/ImportUsers", Permission::Administrator),
];

/// The gate before the handlers.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// The callers that are administrators.
    pub administration: Administration,
    /// The service that keeps a log of callers that were refused, if it does.
    pub auth: Option<Arc<Auth>>,
}

impl Gate {
    /// Passes a request on, if its caller may call this RPC; with the [`Caller`](super::caller::Caller), unless anyone may.
    ///
    /// # Errors
    /// PERMISSION_DENIED; UNIMPLEMENTED for an RPC of ours that the table does not have.
    pub(super) fn authorize<B>(&self, request: &mut Request<B>) -> Result<(), Status> {
        let Some(called) = request.uri().path().strip_prefix(PACKAGE) else {
            return Ok(());
        };
        let found = TABLE.iter().find(|(rpc, _)| *rpc == called);
        let (rpc, permission) = found.ok_or_else(|| Status::unimplemented("no such method"))?;
        if *permission == Permission::Anyone {
            return Ok(());
        }
        let caller = self.administration.identify(request);
        if let (Permission::Administrator, Err(error)) = (permission, caller.must_administer()) {
            if let Some(auth) = &self.auth {
                auth.base.audit.refused_administration(rpc, caller.peer());
            }
            return Err(status(rpc, error));
        }
        request.extensions_mut().insert(caller);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use countersign_proto::DESCRIPTORS;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use tonic::Code;

    use super::*;
    use crate::grpc::caller::Caller;

    /// All RPCs of the contract.
    fn contract() -> Vec<String> {
        let files = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors").file;
        let services = files.iter().filter(|file| file.package() == "countersign.v1").flat_map(|file| &file.service);
        let rpcs = services.flat_map(|s| s.method.iter().map(|method| format!("{}/{}", s.name(), method.name())));
        rpcs.collect()
    }

    fn authorize(administration: &Administration, path: &str) -> (Result<(), Code>, Option<Caller>) {
        let mut request = Request::builder().uri(path).body(()).expect("a request");
        let gate = Gate { administration: administration.clone(), auth: None };
        let authorized = gate.authorize(&mut request).map_err(|status| status.code());
        (authorized, request.extensions().get().copied())
    }

    #[test]
    fn the_table_has_the_rpcs_of_the_contract_and_no_others() {
        let (mut table, mut contract) = (TABLE.map(|(rpc, _)| rpc.to_owned()).to_vec(), contract());
        table.sort();
        contract.sort();
        assert_eq!(table, contract);
    }

    #[test]
    fn an_rpc_that_is_not_in_the_table_is_closed_and_those_of_other_packages_are_open() {
        let everybody = Administration::Everybody;
        assert_eq!(authorize(&everybody, "/countersign.v1.UserService/Promote"), (Err(Code::Unimplemented), None));
        assert_eq!(authorize(&everybody, "/grpc.health.v1.Health/Check"), (Ok(()), None));
    }

    #[test]
    fn who_does_not_administer_calls_what_anyone_may_and_the_handler_is_told_who_calls() {
        for rpc in contract() {
            let permission = TABLE.iter().find(|(name, _)| *name == rpc).expect("in the table").1;
            let path = format!("{PACKAGE}{rpc}");
            let (authorized, caller) = authorize(&Administration::Nobody, &path);
            let administers = |caller: Option<Caller>| caller.map(|caller| caller.must_administer().is_ok());
            let expected = match permission {
                Permission::Anyone => (Ok(()), None),
                Permission::Administrator => (Err(Code::PermissionDenied), None),
                Permission::HolderOrAdministrator => (Ok(()), Some(false)),
            };
            assert_eq!((authorized, administers(caller)), expected, "{rpc}");
            let (authorized, caller) = authorize(&Administration::Everybody, &path);
            let known = (permission != Permission::Anyone).then_some(true);
            assert_eq!((authorized, administers(caller)), (Ok(()), known), "{rpc}");
        }
    }
}
