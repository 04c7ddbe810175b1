//! Verify: whose access token is this? From memory alone (promise P3); `countersign_token::verifier` says what is valid.

use std::sync::Arc;

use countersign_token::{
    claims::Principal,
    state::Freshness,
    verifier::{Progress, Requirements},
};
use tokio::task::yield_now;

use super::{
    Auth,
    verified::{Verdicts, VerifiedToken},
};
use crate::{crypto::refresh_token::Decoded, error::Error, metrics::Verification};

/// The number of signatures of a batch that are verified before other calls have their turn: some 0.2 ms.
const SIGNATURES: usize = 4;

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
        let verified = self.verifier.verify(token, requirements);
        let result = verified.as_ref().err().map_or(Verification::Valid, Verification::failed);
        self.base.metrics.outcomes.verifications.count(result);
        Ok(verified?)
    }

    /// Verifies many tokens as of one moment. Batches take turns at verifying signatures, a few at a time, and other calls
    /// come in between.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::KeyUnusable`], [`Error::Overloaded`] when too many batches wait.
    pub async fn verify_batch<'t>(
        &self,
        tokens: impl IntoIterator<Item = &'t str>,
        requirements: Requirements<'t>,
    ) -> Result<(Verdicts, Freshness), Error> {
        let tokens: Vec<&str> = tokens.into_iter().collect();
        let number = u64::try_from(tokens.len()).unwrap_or(u64::MAX);
        let verified = self.verify_all(tokens, requirements).await;
        let counts = &self.base.metrics.outcomes.verifications;
        match &verified {
            Ok((verdicts, _)) => verdicts.iter().map(|verdict| verdict.as_ref().err()).for_each(|refused| {
                counts.count(refused.map_or(Verification::Valid, |it| Verification::refused(*it)));
            }),
            // Of a batch that is refused as a whole, each token is.
            Err(Error::RevocationsStale) => counts.add(Verification::Stale, number),
            Err(Error::KeyUnusable) => counts.add(Verification::KeyUnusable, number),
            Err(_) => {}
        }
        verified
    }

    async fn verify_all<'t>(
        &self,
        tokens: Vec<&'t str>,
        requirements: Requirements<'t>,
    ) -> Result<(Verdicts, Freshness), Error> {
        let mut batch = self.verifier.batch(tokens, requirements)?;
        if self.verifier.advance(&mut batch, SIGNATURES)? == Progress::More {
            let _turn = self.batches.take().await?;
            while self.verifier.advance(&mut batch, SIGNATURES)? == Progress::More {
                yield_now().await;
            }
        }
        Ok(self.verifier.finish(batch)?)
    }

    /// The principal of a token, even if it has expired or its session has ended.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::KeyUnusable`].
    pub(super) fn identify(&self, token: &str) -> Result<Principal, Error> {
        Ok(self.verifier.identify(token)?)
    }

    /// True if this replica knows that the session has ended to which both tokens belong. False if either is none of ours.
    pub fn has_ended(&self, access_token: &str, refresh_token: &str) -> bool {
        let Ok(Principal { session_id, user_id, epoch, opened_at, .. }) = self.identify(access_token) else {
            return false;
        };
        let of_same = matches!(
            self.keys.ring().decode_refresh(refresh_token),
            Ok(Decoded::Token(token)) if token.session_id == session_id
        );
        of_same && self.revocations().state().has_ended(session_id, user_id, epoch, opened_at)
    }

    /// Forgets the tokens that have expired.
    pub fn forget_expired_tokens(&self) {
        self.verifier.forget_expired(self.base.clock.now());
    }
}
