//! The database: the only code that knows sqlx. One file or folder per table, plain functions on a connection.
//!
//! Every statement has a deadline, here and in the server: a replica that is lost must not hold a lock. A statement may
//! be cut short, by the deadline or because nobody waits any more. Its connection is then closed instead of going back
//! to the pool (REQUIREMENTS V8). Nothing here decides; `auth` does.
//!
//! Architecture invariant: no secret reaches this folder but sealed or hashed.

mod address;
pub mod audit;
pub mod compatibility;
mod conn;
pub mod credentials;
pub mod decoy_secret;
mod error;
mod health;
mod hosts;
pub mod identity;
pub mod inspection;
pub mod keys;
mod listener;
pub mod login_throttle;
mod notice;
mod pool;
mod prepared_conn;
pub mod proofs;
pub mod proxies;
pub mod replicas;
pub mod replication;
mod retirement;
mod retry;
pub mod revocation_log;
pub mod revocations;
mod schema;
pub mod session_floor;
pub mod sessions;
mod setup;
mod statement_summary;
mod unreached;
pub mod users;

pub use self::{
    conn::Conn,
    error::unavailable,
    listener::Listener,
    pool::{Occupancy, Store, StoreSettings},
    prepared_conn::PreparedConn,
    retry::retrying,
    schema::Migrations,
    unreached::Unreached,
};
