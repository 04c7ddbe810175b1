//! What the stories share: clusters and databases, a primary with a standby, servers, actors, a proxy that can be
//! cut.

mod actor;
mod certificates;
mod cluster;
mod pair;
mod process;
mod proxy;
mod scratch;
mod server;

pub(crate) use actor::{PASSWORD, User, live_sessions};
pub(crate) use certificates::{Authority, Certificate};
pub(crate) use cluster::{database, database_in, so_many_wait, somebody_waits};
pub(crate) use pair::{Pair, Replication};
pub(crate) use process::Process;
pub(crate) use proxy::{Proxy, for_a_while};
pub(crate) use scratch::Scratch;
pub(crate) use server::{ADMIN_TOKEN, MASTER_KEY, Setup, TestServer, administering, bearer};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The code and the reason of an error, whose ErrorInfo must be ours.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("refused");
    let info = status.get_details_error_info().expect("every error carries ErrorInfo");
    assert_eq!(info.domain, "countersign");
    let trailer = status.metadata().get("countersign-reason").and_then(|reason| reason.to_str().ok());
    assert_eq!(trailer, Some(info.reason.as_str()), "the reason in one line");
    (status.code(), info.reason)
}

/// The fields that an INVALID_ARGUMENT names.
pub(crate) fn violations<T: std::fmt::Debug>(result: Result<T, Status>) -> Vec<String> {
    let status = result.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let bad = status.get_details_bad_request().expect("INVALID_ARGUMENT carries BadRequest");
    assert_eq!(refusal::<()>(Err(status)).1, "INVALID_ARGUMENT");
    bad.field_violations.into_iter().map(|v| v.field).collect()
}
