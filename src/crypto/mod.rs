//! Cryptography: the only code of the service that knows jsonwebtoken, argon2 and the other password hashes, aws-lc-rs, xorf and
//! zxcvbn.
//!
//! Architecture invariant: knows nothing of the database. What is stored sealed is opened here and handed in by `auth`.

pub mod blocklist;
pub mod device_hint;
pub mod digest;
pub mod foreign_hash;
mod hash_job;
mod hash_worker;
pub mod keyring;
pub mod password;
pub mod password_rules;
pub mod pepper;
pub mod phc;
pub mod random;
pub mod refresh_token;
pub mod seal;
pub mod secret;
pub mod service_token;
pub mod sign;
pub mod signing_key;
