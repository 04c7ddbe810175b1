//! The verifier of this service, and what it keeps with each token that it remembers.

use std::sync::OnceLock;

use bytes::Bytes;
use countersign_token::{verified_tokens, verifier};

/// The answers for a token, as the edges that answer have encoded them once.
#[derive(Debug, Default)]
pub struct Kept {
    /// The principal in the answer of Verify.
    pub principal: OnceLock<Bytes>,
    /// The headers in the answer of Check, and the metadata.
    pub checked: OnceLock<[Bytes; 2]>,
}

/// Verifies access tokens.
pub type Verifier = verifier::Verifier<Kept>;

/// A token that one of our keys has signed.
pub type VerifiedToken = verified_tokens::VerifiedToken<Kept>;

/// The answers for the tokens of a batch, in their order.
pub type Verdicts = verifier::Verdicts<Kept>;
