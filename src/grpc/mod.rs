//! The gRPC side: the only code that knows tonic. Reads requests into the types of `domain` and `auth`, and writes
//! answers; decides nothing.

mod auth_service;
mod call_watch;
mod client;
mod contract;
mod deadline;
mod decode;
mod descriptors;
mod drain;
mod encode;
mod ext_authz;
mod health_check;
mod import;
mod message_size;
mod server;
mod service;
#[allow(missing_docs, missing_debug_implementations, clippy::all, reason = "generated code")]
mod services;
mod status;
mod user_service;
pub mod v1;
pub mod verify_response;
mod watch;
mod xds;

pub use client::Client;
pub use descriptors::descriptors;
pub use health_check::check_health;
pub use server::{GrpcPorts, Health, Services, serve, serve_routes, services};
