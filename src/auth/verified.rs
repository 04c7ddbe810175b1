//! The verifier of this service, and what it keeps with each token that it remembers.

use std::sync::OnceLock;

use bytes::Bytes;
use countersign_token::{verified_tokens, verifier};

/// The answer for a token, as the edge that answers has encoded it once.
pub type Kept = OnceLock<Bytes>;

/// Verifies access tokens.
pub type Verifier = verifier::Verifier<Kept>;

/// A token that one of our keys has signed.
pub type VerifiedToken = verified_tokens::VerifiedToken<Kept>;

/// The answers for the tokens of a batch, in their order.
pub type Verdicts = verifier::Verdicts<Kept>;
