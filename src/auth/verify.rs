//! Verify: whose access token is this? From memory alone (promise P3).

use std::time::Duration;

use super::Auth;
use crate::{
    crypto::access_token,
    domain::claims::{Expected, Principal},
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

impl Auth {
    /// Verifies one token.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::Rejected`].
    pub fn verify(&self, token: &str, demand: Demand<'_>) -> Result<(Principal, Freshness), Error> {
        let freshness = self.accounts.revocations.fresh(demand.max_staleness)?;
        let principal = self.accept(token, demand.audience, freshness)?;
        Ok((principal, freshness))
    }

    /// Verifies many tokens as of one moment.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`].
    pub fn verify_batch<'t>(
        &self,
        tokens: impl IntoIterator<Item = &'t str>,
        demand: Demand<'_>,
    ) -> Result<(Vec<Result<Principal, Rejection>>, Freshness), Error> {
        let freshness = self.accounts.revocations.fresh(demand.max_staleness)?;
        let results = tokens.into_iter().map(|token| self.accept(token, demand.audience, freshness)).collect();
        Ok((results, freshness))
    }

    /// The one definition of a valid access token.
    fn accept(&self, token: &str, audience: Option<&str>, freshness: Freshness) -> Result<Principal, Rejection> {
        let claims = access_token::open(token, &self.keys.verifying)?;
        let expected = Expected { issuer: &self.accounts.policy.issuer, audience, leeway: self.accounts.policy.leeway };
        let principal = claims.check(expected, self.accounts.clock.now())?;
        self.accounts.revocations.check(&principal, freshness)?;
        Ok(principal)
    }

    /// Whose token this was, even if it has expired or been revoked.
    ///
    /// # Errors
    /// [`Rejection::Malformed`], [`Rejection::SignatureInvalid`].
    pub(super) fn identify(&self, token: &str) -> Result<Principal, Rejection> {
        let claims = access_token::open(token, &self.keys.verifying)?;
        claims.identify(&self.accounts.policy.issuer)
    }
}
