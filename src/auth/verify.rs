//! Verify: whose access token is this? From memory alone (promise P3).

use std::{sync::Arc, time::Duration};

use super::Auth;
use crate::{
    crypto::access_token,
    domain::claims::{Expected, Principal, unix},
    error::{Error, Rejection},
    revocation::Freshness,
};

/// What a caller asks of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand<'a> {
    /// The token must carry this audience.
    pub audience: Option<&'a str>,
    /// Revocation state older than this is refused. It can only tighten the server's bound.
    pub max_staleness: Option<Duration>,
}

/// What is to be said of the tokens of a batch, in their order.
pub type Verdicts = Vec<Result<Arc<Principal>, Rejection>>;

impl Auth {
    /// Verifies one token.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::Rejected`], [`Error::KeyUnusable`].
    pub fn verify(&self, token: &str, demand: Demand<'_>) -> Result<(Arc<Principal>, Freshness), Error> {
        let freshness = self.accounts.revocations.fresh(demand.max_staleness)?;
        let principal = self.accept(token, demand.audience, freshness)?;
        Ok((principal, freshness))
    }

    /// Verifies many tokens as of one moment.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::KeyUnusable`].
    pub fn verify_batch<'t>(
        &self,
        tokens: impl IntoIterator<Item = &'t str>,
        demand: Demand<'_>,
    ) -> Result<(Verdicts, Freshness), Error> {
        let freshness = self.accounts.revocations.fresh(demand.max_staleness)?;
        let verdict = |token| match self.accept(token, demand.audience, freshness) {
            Ok(principal) => Ok(Ok(principal)),
            Err(Error::Rejected(rejection)) => Ok(Err(rejection)),
            // Undecided: no answer for this token is right.
            Err(error) => Err(error),
        };
        let results: Result<Vec<_>, Error> = tokens.into_iter().map(verdict).collect();
        Ok((results?, freshness))
    }

    /// The one definition of a valid access token. That one of our keys has signed it does not change as long as we have the
    /// key; all else is asked each time.
    fn accept(&self, token: &str, audience: Option<&str>, freshness: Freshness) -> Result<Arc<Principal>, Error> {
        let ring = self.keys.ring();
        let remembered = ring.verified().get(token);
        let principal = match &remembered {
            Some(principal) => Arc::clone(principal),
            None => {
                let claims = access_token::open(token, ring.verifying())?;
                Arc::new(claims.identify(&self.accounts.policy.issuer)?)
            }
        };
        let leeway = self.accounts.policy.leeway;
        principal.check(Expected { audience, leeway }, self.accounts.clock.now())?;
        if remembered.is_none() {
            ring.verified().insert(token, Arc::clone(&principal));
        }
        self.accounts.revocations.check(&principal, freshness)?;
        Ok(principal)
    }

    /// Forgets the tokens that have expired.
    pub fn forget_expired_tokens(&self) {
        let (leeway, now) = (self.accounts.policy.leeway, unix(self.accounts.clock.now()));
        self.keys.ring().verified().retain(|principal| !principal.has_expired(leeway, now));
    }

    /// Whose token this was, even if it has expired or its session has ended.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::KeyUnusable`].
    pub(super) fn identify(&self, token: &str) -> Result<Principal, Error> {
        let claims = access_token::open(token, self.keys.ring().verifying())?;
        Ok(claims.identify(&self.accounts.policy.issuer)?)
    }
}
