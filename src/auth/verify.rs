//! Verify: whose access token is this? From memory alone (promise P3).

use std::{sync::Arc, time::Duration};

use super::Auth;
use crate::{
    crypto::{access_token, verified_tokens::Verified},
    domain::claims::{Expected, Principal, unix},
    error::{Error, Rejection},
    revocation::Freshness,
};

/// How many tokens of a batch are looked up while no revocation can be added.
const LOOKED_UP_AT_ONCE: usize = 64;

/// What a caller asks of tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand<'a> {
    /// The token must carry this audience.
    pub audience: Option<&'a str>,
    /// Revocation state older than this is refused. It can only tighten the server's bound.
    pub max_staleness: Option<Duration>,
}

/// What is to be said of the tokens of a batch, in their order.
pub type Verdicts = Vec<Result<Arc<Verified>, Rejection>>;

impl Auth {
    /// Verifies one token.
    ///
    /// # Errors
    /// [`Error::RevocationsStale`], [`Error::Rejected`], [`Error::KeyUnusable`].
    pub fn verify(&self, token: &str, demand: Demand<'_>) -> Result<(Arc<Verified>, Freshness), Error> {
        let freshness = self.revocations().fresh(demand.max_staleness)?;
        let verified = self.accept(token, demand.audience, freshness)?;
        self.revocations().look_up(freshness).check(&verified.principal)?;
        Ok((verified, freshness))
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
        let freshness = self.revocations().fresh(demand.max_staleness)?;
        let accepted = |token| match self.accept(token, demand.audience, freshness) {
            Ok(verified) => Ok(Ok(verified)),
            Err(Error::Rejected(rejection)) => Ok(Err(rejection)),
            // Undecided: no answer for this token is right.
            Err(error) => Err(error),
        };
        let mut verdicts: Verdicts = tokens.into_iter().map(accepted).collect::<Result<_, Error>>()?;
        for some in verdicts.chunks_mut(LOOKED_UP_AT_ONCE) {
            let revoked = self.revocations().look_up(freshness);
            for verdict in some {
                if let Some(rejection) = verdict.as_ref().ok().and_then(|v| revoked.check(&v.principal).err()) {
                    *verdict = Err(rejection);
                }
            }
        }
        Ok((verdicts, freshness))
    }

    /// The one definition of a valid access token, but for what the revocation index says. That one of our keys has signed
    /// it does not change as long as we have the key; all else is asked each time.
    fn accept(&self, token: &str, audience: Option<&str>, freshness: Freshness) -> Result<Arc<Verified>, Error> {
        // Not before the state was seen to be fresh, and each time: a key may be killed at any moment.
        let ring = self.keys.ring();
        let remembered = ring.verified().get(token);
        let is_new = remembered.is_none();
        let verified = match remembered {
            Some(verified) => verified,
            None => {
                let claims = access_token::open(token, ring.verifying())?;
                Verified::new(claims.identify(&self.policy.issuer)?)
            }
        };
        let leeway = self.policy.leeway;
        verified.principal.check(Expected { audience, leeway }, freshness.asked_at())?;
        if is_new {
            ring.verified().insert(token, Arc::clone(&verified));
        }
        Ok(verified)
    }

    /// Forgets the tokens that have expired.
    pub fn forget_expired_tokens(&self) {
        let (leeway, now) = (self.policy.leeway, unix(self.base.clock.now()));
        self.keys.ring().verified().retain(|principal| !principal.has_expired(leeway, now));
    }

    /// Whose token this was, even if it has expired or its session has ended.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::KeyUnusable`].
    pub(super) fn identify(&self, token: &str) -> Result<Principal, Error> {
        let claims = access_token::open(token, self.keys.ring().verifying())?;
        Ok(claims.identify(&self.policy.issuer)?)
    }
}
