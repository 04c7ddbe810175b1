//! Countersign: an authentication service that internal microservices delegate to over gRPC.
//!
//! The folders are layers and imports go one way, which `tests/tidy.rs` checks. The way is `main -> cli -> server ->
//! {grpc, http} -> {authz, xds} -> {edge, auth} -> {net, revocation, crypto, store} -> domain`. `revocation` reads and writes the log
//! through `store`; `crypto` and `store` never see each other; `config`, `error`, `metrics`, `telemetry` and `trace` are leaves.
//! ARCHITECTURE.md has the walkthroughs.

pub mod audit;
pub mod auth;
pub mod authz;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod domain;
pub mod edge;
pub mod error;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod net;
pub mod revocation;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod trace;
pub mod xds;
