//! The messages of the contract.

pub use countersign_proto::v1::*;
