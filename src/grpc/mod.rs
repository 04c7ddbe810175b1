//! The gRPC side: the only code that knows tonic. Reads requests into the types of `domain` and `auth`, and writes
//! answers; decides nothing.

mod auth_service;
mod caller;
pub mod codec;
mod contract;
mod decode;
mod encode;
mod health_check;
mod import;
mod redact;
mod server;
mod service;
mod status;
mod user_service;
mod verdict;
mod watch;

pub use caller::Administration;
pub use health_check::check_health;
pub use server::{Health, serve, serve_routes};

/// The generated messages and services.
#[allow(missing_docs, missing_debug_implementations, clippy::all, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("countersign.v1");
}

/// The generated traits of the services.
#[allow(missing_docs, missing_debug_implementations, clippy::all, reason = "generated code")]
mod services {
    include!(concat!(env!("OUT_DIR"), "/services/countersign.v1.rs"));
}
