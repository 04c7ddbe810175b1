//! Decisions about requests.

use std::sync::Arc;

use tokio::time::Instant;

use super::denial::Denial;
use crate::auth::{refresh::Delivery, tokens::TokenPair, verified::VerifiedToken};

/// The conditions under which a browser's session may go on within a call.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// The moment until which an answer is waited for; None if nobody has said.
    pub until: Option<Instant>,
    /// The way of the new tokens to the browser.
    pub delivery: Delivery,
}

/// A decision about a request. There is none by default.
#[derive(Debug)]
pub enum Decision {
    /// The request may pass.
    Allowed(Box<Allowed>),
    /// The request may not pass.
    Denied(Box<Denial>),
}

/// A request that may pass.
#[derive(Debug)]
pub struct Allowed {
    /// The token by which it passes; None for a request without one.
    pub token: Option<Arc<VerifiedToken>>,
    /// The tokens with which the browser's session went on within the call.
    pub renewed: Option<TokenPair>,
    /// Are the browser's cookies worth nothing any more, so that they are taken away?
    pub clears_cookies: bool,
}

impl Decision {
    /// The request may pass, and is nobody's.
    pub(super) fn nobody(clears_cookies: bool) -> Self {
        Self::Allowed(Box::new(Allowed { token: None, renewed: None, clears_cookies }))
    }
}
