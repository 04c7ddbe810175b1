//! The verifier: whose access token is this? From memory alone.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use time::OffsetDateTime;

use super::{
    access_token,
    claims::Principal,
    error::{Error, Rejection},
    key_set::KeySet,
    moment::unix,
    state::{Freshness, RevocationState},
    verified_tokens::{VerifiedToken, VerifiedTokens},
};

/// The number of tokens of a batch that are looked up while no revocation can be added.
const LOOKED_UP_AT_ONCE: usize = 64;

/// Verifies access tokens of one issuer. `K` is what those who answer keep with each token that is remembered.
#[derive(Debug)]
pub struct Verifier<K> {
    settings: Settings,
    keys: ArcSwap<Keys<K>>,
    revocations: Arc<RevocationState>,
}

/// Settings of a verifier.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The claim `iss` of its tokens.
    pub issuer: String,
    /// The grace past `exp`.
    pub leeway: Duration,
    /// The number of verified tokens that are remembered; none for 0.
    pub remembered: usize,
}

/// Requirements of a caller on tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requirements<'a> {
    /// The token must carry this audience.
    pub audience: Option<&'a str>,
    /// Revocation state older than this is refused. It can only tighten the verifier's bound.
    pub max_staleness: Option<Duration>,
}

/// The answers for the tokens of a batch, in their order.
pub type Verdicts<K> = Vec<Result<Arc<VerifiedToken<K>>, Rejection>>;

/// Keys, and the tokens that were verified by them: these go when the keys change, because one of them may have been killed.
#[derive(Debug)]
struct Keys<K> {
    set: KeySet,
    verified: VerifiedTokens<K>,
}

impl<K: Default> Verifier<K> {
    /// A verifier without keys yet.
    pub fn new(settings: Settings, revocations: Arc<RevocationState>) -> Self {
        let keys = Keys { set: KeySet::default(), verified: VerifiedTokens::new(settings.remembered) };
        Self { settings, keys: ArcSwap::from_pointee(keys), revocations }
    }

    /// Verifies by these keys from now on.
    pub fn use_keys(&self, set: KeySet) {
        let verified = VerifiedTokens::new(self.settings.remembered);
        self.keys.store(Arc::new(Keys { set, verified }));
    }

    /// Verifies one token.
    ///
    /// # Errors
    /// All of [`Error`].
    pub fn verify(
        &self,
        token: &str,
        requirements: Requirements<'_>,
    ) -> Result<(Arc<VerifiedToken<K>>, Freshness), Error> {
        let freshness = self.revocations.fresh(requirements.max_staleness)?;
        let verified = self.accept(token, requirements.audience, freshness)?;
        self.revocations.look_up(freshness).check(&verified.principal)?;
        Ok((verified, freshness))
    }

    /// Verifies many tokens as of one moment.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::KeyUnusable`].
    pub fn verify_batch<'t>(
        &self,
        tokens: impl IntoIterator<Item = &'t str>,
        requirements: Requirements<'_>,
    ) -> Result<(Verdicts<K>, Freshness), Error> {
        let freshness = self.revocations.fresh(requirements.max_staleness)?;
        let accepted = |token| match self.accept(token, requirements.audience, freshness) {
            Ok(verified) => Ok(Ok(verified)),
            Err(Error::Rejected(rejection)) => Ok(Err(rejection)),
            // Undecided: no answer for this token is right.
            Err(error) => Err(error),
        };
        let mut verdicts: Verdicts<K> = tokens.into_iter().map(accepted).collect::<Result<_, Error>>()?;
        for some in verdicts.chunks_mut(LOOKED_UP_AT_ONCE) {
            let revoked = self.revocations.look_up(freshness);
            for verdict in some {
                if let Some(rejection) = verdict.as_ref().ok().and_then(|v| revoked.check(&v.principal).err()) {
                    *verdict = Err(rejection);
                }
            }
        }
        Ok((verdicts, freshness))
    }

    /// Accepts a token, but for what the revocation index says. That one of our keys has signed it does not change as long as we
    /// have the key; all else is asked each time.
    fn accept(
        &self,
        token: &str,
        audience: Option<&str>,
        freshness: Freshness,
    ) -> Result<Arc<VerifiedToken<K>>, Error> {
        // Not before the state was seen to be fresh, and each time: a key may be killed at any moment.
        let keys = self.keys.load();
        let remembered = keys.verified.get(token);
        let is_new = remembered.is_none();
        let verified = match remembered {
            Some(verified) => verified,
            None => VerifiedToken::new(access_token::open(token, &keys.set)?.identify(&self.settings.issuer)?),
        };
        verified.principal.check(audience, self.settings.leeway, freshness.asked_at())?;
        if is_new {
            keys.verified.insert(token, Arc::clone(&verified));
        }
        Ok(verified)
    }

    /// The user and session that a token names, even if it has expired or its session has ended.
    ///
    /// # Errors
    /// [`Error::Rejected`], [`Error::KeyUnusable`].
    pub fn identify(&self, token: &str) -> Result<Principal, Error> {
        Ok(access_token::open(token, &self.keys.load().set)?.identify(&self.settings.issuer)?)
    }

    /// Forgets the tokens that have expired.
    pub fn forget_expired(&self, now: OffsetDateTime) {
        let (leeway, now) = (self.settings.leeway, unix(now));
        self.keys.load().verified.retain(|principal| !principal.has_expired(leeway, now));
    }

    /// The number of tokens that are remembered.
    pub fn remembered(&self) -> usize {
        self.keys.load().verified.len()
    }
}
