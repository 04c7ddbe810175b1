//! The gRPC side: the only code that knows tonic. Reads requests into the types of `domain` and `auth`, and writes
//! answers; decides nothing.

mod auth_service;
mod caller;
mod contract;
mod decode;
mod empty;
mod encode;
mod health_check;
mod import;
mod permission;
mod refusal;
mod server;
mod service;
mod status;
mod user_service;
mod verdict;
mod watch;

pub use caller::Administration;
pub use countersign_proto::v1;
pub use empty::serve_empty;
pub use health_check::check_health;
pub use refusal::refusal;
pub use server::{Health, serve};

/// The generated traits of the services.
#[allow(missing_docs, missing_debug_implementations, clippy::all, reason = "generated code")]
mod services {
    tonic::include_proto!("countersign.v1");
}
