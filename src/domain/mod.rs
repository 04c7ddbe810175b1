//! The things of the service, and the decisions about them. Pure and synchronous: no I/O, no clock, no randomness.
//!
//! Architecture invariant: imports nothing of this crate but `error`.

pub mod address;
pub mod audit;
pub mod caller;
pub mod caller_policy;
pub mod connection;
pub mod hash_cost;
pub mod key;
pub mod listen;
pub mod network;
pub mod password;
pub mod password_hash;
pub mod policy;
pub mod proxy;
pub mod proxy_lists;
pub mod rate;
pub mod replica;
pub mod revocation;
pub mod rotation;
pub mod route;
pub mod route_path;
pub mod rpc;
pub mod session;
pub mod text;
pub mod throttle;
pub mod trace;
pub mod unreached;
pub mod user;
