//! The definition of a valid access token, for the service and for verifiers in other processes. There is no other.
//!
//! In reading order:
//! - [`claims`]: what a token says, and when that is valid;
//! - [`access_token`]: the strict reading of its text, and its signature;
//! - [`algorithm`], [`verifying_key`], [`key_set`]: the keys by which it was signed;
//! - [`revocation`], [`index`]: which tokens are dead;
//! - [`state`]: the index, and how fresh it is;
//! - [`verified_tokens`], [`refused_tokens`]: the memory of tokens whose signature was verified;
//! - [`verifier`]: all of it together.
//!
//! [`clock`], [`moment`] and [`ids`] are what they are made of. Nothing here does I/O or waits.

#[cfg(not(any(feature = "aws-lc", feature = "pure")))]
compile_error!("a back end that verifies signatures is missing: pick the feature `aws-lc` or `pure`");

pub mod access_token;
pub mod algorithm;
pub mod claims;
pub mod clock;
pub mod error;
pub mod ids;
pub mod index;
pub mod key_set;
pub mod moment;
pub mod refused_tokens;
pub mod revocation;
pub mod state;
#[cfg(test)]
mod testing;
pub mod verified_tokens;
pub mod verifier;
pub mod verifying_key;
