//! A password hash as it is stored. Making, reading and checking one is `crypto`.

use std::fmt;

use super::password::Password;

/// A password hash: a PHC string, or one of the forms of `crypto/foreign_hash`. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

/// The result of checking a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The password is that of the hash.
    Right,
    /// The password is another one, or there is no such user.
    Wrong,
}

/// The treatment of a password before it is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalization {
    /// Nothing, as in most systems.
    Typed,
    /// NFKC, as in this service.
    Nfkc,
}

impl Normalization {
    /// The bytes that are hashed.
    pub fn of(self, password: &Password) -> &[u8] {
        match self {
            Self::Typed => password.as_typed(),
            Self::Nfkc => password.as_bytes(),
        }
    }
}

impl PasswordHash {
    /// A hash that comes from the database, or was just made.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The hash as it is stored; for the database and an export alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, to be wiped by whoever takes it.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}
