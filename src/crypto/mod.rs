//! Cryptography: the only code that knows jsonwebtoken, argon2 and the other password hashes, aws-lc-rs, quick_cache, xorf and zxcvbn.
//!
//! Architecture invariant: knows nothing of the database. What is stored sealed is opened here and handed in by `auth`.

pub mod access_token;
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
pub mod signing_key;
pub mod verified_tokens;
pub mod verifying_key;
