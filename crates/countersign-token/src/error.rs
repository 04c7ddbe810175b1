//! The errors of verifying: the token is refused, or nothing can be said of it.

use std::fmt;

/// The reason why an access token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The token is no access token of this issuer.
    Malformed,
    /// Forged or altered.
    SignatureInvalid,
    /// Signed by a key that is not ours, or not any more.
    KeyUnknown,
    /// The token's lifetime is over.
    Expired,
    /// The token's session has ended.
    Revoked,
    /// The token does not carry the audience that was asked for.
    AudienceMismatch,
}

/// The reason why a token was not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The token is not accepted.
    Rejected(Rejection),
    /// The token names a key that is ours and cannot be used here: nothing can be said of it.
    KeyUnusable,
    /// The revocation state is older than the bound: nothing can be said of any token.
    Stale,
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => write!(f, "access token not accepted: {rejection:?}"),
            Self::KeyUnusable => f.write_str("a key that is needed cannot be used here"),
            Self::Stale => f.write_str("revocation state too old"),
        }
    }
}

impl std::error::Error for Error {}
