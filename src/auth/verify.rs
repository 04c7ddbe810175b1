//! Verify: whose access token is this? From memory alone (promise P3); `countersign_token::verifier` says what is valid.

use std::sync::Arc;

use countersign_token::{claims::Principal, state::Freshness, verifier::Requirements};

use super::{
    Auth,
    verified::{Verdicts, VerifiedToken},
};
use crate::error::Error;

impl Auth {
    /// Verifies one token.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::Rejected`], [`Error::KeyUnusable`].
    pub fn verify(
        &self,
        token: &str,
        requirements: Requirements<'_>,
    ) -> Result<(Arc<VerifiedToken>, Freshness), Error> {
        Ok(self.verifier.verify(token, requirements)?)
    }

    /// Verifies many tokens as of one moment.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::KeyUnusable`].
    pub fn verify_batch<'t>(
        &self,
        tokens: impl IntoIterator<Item = &'t str>,
        requirements: Requirements<'_>,
    ) -> Result<(Verdicts, Freshness), Error> {
        Ok(self.verifier.verify_batch(tokens, requirements)?)
    }

    /// The principal of a token, even if it has expired or its session has ended.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::KeyUnusable`].
    pub(super) fn identify(&self, token: &str) -> Result<Principal, Error> {
        Ok(self.verifier.identify(token)?)
    }

    /// Forgets the tokens that have expired.
    pub fn forget_expired_tokens(&self) {
        self.verifier.forget_expired(self.base.clock.now());
    }
}
