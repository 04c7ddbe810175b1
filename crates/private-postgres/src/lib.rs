//! Finds the Postgres programs of this machine and runs a private cluster with them. It serves `countersign dev` and
//! the tests, which need a real database and no set-up.
//!
//! A cluster listens on a Unix socket in a directory of mode 0700 and nowhere else. It has one owner at a time, and
//! ends with its owner, even one that was killed with SIGKILL.
//!
//! Synchronous: these calls block for seconds, so async code runs them on a thread. Not here:
//! migrations, SQL, pools; this is a leaf that knows processes and files only.

mod account;
mod cluster;
mod directory;
mod durability;
mod error;
mod find;
mod initdb;
mod locks;
mod orphan;
mod postmaster;
mod process;
#[cfg(test)]
mod tests;
mod wait;
mod watchdog;

pub use cluster::Cluster;
pub use durability::Durability;
pub use error::{LaunchError, Refusal};
pub use find::Binaries;
