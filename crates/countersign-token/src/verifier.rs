//! The verifier: whose access token is this? From memory alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use time::OffsetDateTime;

use super::{
    access_token,
    claims::Principal,
    error::{Error, Rejection},
    key_set::KeySet,
    moment::unix,
    refused_tokens::{RefusedToken, RefusedTokens},
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
    signatures: AtomicU64,
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

/// The answer for a token.
pub type Verdict<K> = Result<Arc<VerifiedToken<K>>, Rejection>;

/// The answers for the tokens of a batch, in their order.
pub type Verdicts<K> = Vec<Verdict<K>>;

/// Tokens that are verified as of one moment, a few signatures at a time: whoever has other work does it in between.
#[derive(Debug)]
pub struct Batch<'t, K> {
    tokens: Vec<&'t str>,
    requirements: Requirements<'t>,
    keys: Arc<Keys<K>>,
    begun_at: OffsetDateTime,
    /// The first tokens, as far as their text and signature say.
    opened: Verdicts<K>,
}

/// Progress of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Tokens are left.
    More,
    /// All tokens have been opened.
    Done,
}

/// Keys, and the tokens that were verified by them: these go when the keys change, because one of them may have been killed.
#[derive(Debug)]
struct Keys<K> {
    set: KeySet,
    verified: VerifiedTokens<K>,
    refused: RefusedTokens<K>,
}

impl<K: Default> Verifier<K> {
    /// A verifier without keys yet.
    pub fn new(settings: Settings, revocations: Arc<RevocationState>) -> Self {
        let keys = Keys::new(KeySet::default(), settings.remembered);
        Self { settings, keys: ArcSwap::from_pointee(keys), revocations, signatures: AtomicU64::new(0) }
    }

    /// Verifies by these keys from now on.
    pub fn use_keys(&self, set: KeySet) {
        self.keys.store(Arc::new(Keys::new(set, self.settings.remembered)));
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
        // Not before the state was seen to be fresh, and each time: a key may be killed at any moment.
        let keys = self.keys.load();
        let verified = match keys.remembered(token) {
            Some(verdict) => verdict?,
            None => self.read(&keys, token, freshness.asked_at())??,
        };
        verified.principal.check(requirements.audience, self.settings.leeway, freshness.asked_at())?;
        self.revocations.look_up(freshness).check(&verified.principal)?;
        Ok((verified, freshness))
    }

    /// Begins to verify many tokens.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn batch<'t>(
        &self,
        tokens: impl IntoIterator<Item = &'t str>,
        requirements: Requirements<'t>,
    ) -> Result<Batch<'t, K>, Error> {
        let begun_at = self.revocations.fresh(requirements.max_staleness)?.asked_at();
        let tokens: Vec<_> = tokens.into_iter().collect();
        let opened = Vec::with_capacity(tokens.len());
        Ok(Batch { tokens, requirements, keys: self.keys.load_full(), begun_at, opened })
    }

    /// Opens tokens of a batch, at most `signatures` of them that are not remembered.
    ///
    /// # Errors
    /// [`Error::KeyUnusable`].
    pub fn advance(&self, batch: &mut Batch<'_, K>, signatures: usize) -> Result<Progress, Error> {
        let mut read = 0;
        while let Some(token) = batch.tokens.get(batch.opened.len()) {
            let verdict = match batch.keys.remembered(token) {
                Some(verdict) => verdict,
                None if read == signatures => return Ok(Progress::More),
                None => {
                    read += 1;
                    self.read(&batch.keys, token, batch.begun_at)?
                }
            };
            batch.opened.push(verdict);
        }
        Ok(Progress::Done)
    }

    /// Verifies what is left of a batch; the answers are as of now.
    ///
    /// # Errors
    /// [`Error::Stale`], [`Error::KeyUnusable`].
    pub fn finish(&self, mut batch: Batch<'_, K>) -> Result<(Verdicts<K>, Freshness), Error> {
        let Requirements { audience, max_staleness } = batch.requirements;
        let freshness = self.revocations.fresh(max_staleness)?;
        // Not before the state was seen to be fresh: a key may have been killed since the batch began.
        let keys = self.keys.load_full();
        if !Arc::ptr_eq(&keys, &batch.keys) {
            batch.opened.clear();
            batch.keys = keys;
        }
        self.advance(&mut batch, usize::MAX)?;
        let mut verdicts = batch.opened;
        let (leeway, now) = (self.settings.leeway, freshness.asked_at());
        for some in verdicts.chunks_mut(LOOKED_UP_AT_ONCE) {
            let revoked = self.revocations.look_up(freshness);
            for verdict in some {
                let refused = verdict.as_ref().ok().and_then(|verified| {
                    let principal = &verified.principal;
                    principal.check(audience, leeway, now).and_then(|()| revoked.check(principal)).err()
                });
                if let Some(rejection) = refused {
                    *verdict = Err(rejection);
                }
            }
        }
        Ok((verdicts, freshness))
    }

    /// Reads a token and verifies its signature, and remembers both. The time, the caller and revocations decide nothing here,
    /// but that a token that has expired goes into the memory of those that are refused.
    ///
    /// # Errors
    /// [`Error::KeyUnusable`].
    fn read(&self, keys: &Keys<K>, token: &str, now: OffsetDateTime) -> Result<Verdict<K>, Error> {
        let identified = access_token::open(token, &keys.set).and_then(|c| Ok(c.identify(&self.settings.issuer)?));
        use Rejection::{KeyUnknown, Malformed, Revoked};
        if !matches!(identified, Err(Error::Rejected(Malformed | KeyUnknown | Revoked) | Error::KeyUnusable)) {
            self.signatures.fetch_add(1, Ordering::Relaxed);
        }
        match identified {
            Ok(principal) => {
                let has_expired = principal.has_expired(self.settings.leeway, unix(now));
                let verified = VerifiedToken::new(principal);
                if has_expired {
                    keys.refused.insert(token, RefusedToken::Expired(Arc::clone(&verified)));
                } else {
                    keys.verified.insert(token, Arc::clone(&verified));
                }
                Ok(Ok(verified))
            }
            Err(Error::Rejected(rejection)) => {
                if rejection == Rejection::SignatureInvalid {
                    keys.refused.insert(token, RefusedToken::Forged);
                }
                Ok(Err(rejection))
            }
            Err(error) => Err(error),
        }
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

    /// The number of signatures that were verified, because their tokens were not remembered.
    pub fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }

    /// The number of tokens that are remembered.
    pub fn remembered(&self) -> usize {
        self.keys.load().verified.len()
    }
}

impl<K> Keys<K> {
    /// Keys by which nothing has been verified yet.
    fn new(set: KeySet, remembered: usize) -> Self {
        Self { set, verified: VerifiedTokens::new(remembered), refused: RefusedTokens::default() }
    }

    /// Verdict of a token's text and signature, if that is remembered. It does not change as long as these are the keys.
    fn remembered(&self, token: &str) -> Option<Verdict<K>> {
        let verified = self.verified.get(token).map(Ok);
        verified.or_else(|| match self.refused.get(token)? {
            RefusedToken::Forged => Some(Err(Rejection::SignatureInvalid)),
            RefusedToken::Expired(verified) => Some(Ok(verified)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{
        clock::Clock,
        ids::{SessionId, UserId},
        key_set::KeyState,
        testing::Signer,
    };

    struct Fixture {
        signer: Signer,
        clock: Clock,
        verifier: Verifier<()>,
    }

    impl Fixture {
        fn new() -> Self {
            let (signer, clock) = (Signer::new(), Clock::manual());
            let state = Arc::new(RevocationState::new(Duration::from_secs(30), clock.clone()));
            state.publish(clock.moment());
            let settings = Settings { issuer: "i".to_owned(), leeway: Duration::ZERO, remembered: 10 };
            let fixture = Self { signer, clock, verifier: Verifier::new(settings, state) };
            fixture.use_keys();
            fixture
        }

        fn use_keys(&self) {
            self.verifier.use_keys(KeySet::from_iter([("k".into(), KeyState::Key(self.signer.verifying_key()))]));
        }

        fn token(&self, seconds: u64) -> String {
            let (now, at) = (unix(self.clock.now()), self.clock.now());
            let claims = json!({
                "iss": "i", "sub": UserId::new(at).to_string(), "aud": "a", "exp": now + seconds, "iat": now, "jti": "j",
                "client_id": "c", "auth_time": now, "sid": SessionId::new(at).to_string(), "epoch": 0, "roles": [],
            });
            self.signer.token(&json!({"alg": "EdDSA", "kid": "k", "typ": "at+jwt"}).to_string(), &claims.to_string())
        }

        /// The answers for these tokens, after `signatures` signatures at most.
        fn verdicts(&self, tokens: &[String], signatures: usize) -> (Progress, Vec<Option<Rejection>>) {
            let requirements = Requirements { audience: Some("a"), max_staleness: None };
            let mut batch = self.verifier.batch(tokens.iter().map(String::as_str), requirements).expect("fresh");
            let progress = self.verifier.advance(&mut batch, signatures).expect("decided");
            let (verdicts, _) = self.verifier.finish(batch).expect("fresh");
            (progress, verdicts.into_iter().map(Result::err).collect())
        }
    }

    #[test]
    fn what_is_sent_again_costs_no_signature_whatever_was_said_of_it() {
        let fixture = Fixture::new();
        let (expiring, lasting) = (fixture.token(10), fixture.token(1000));
        let forged = format!("{}AAAA", lasting.get(..lasting.len() - 4).expect("ASCII"));
        fixture.clock.advance(Duration::from_secs(10));
        let tokens = [expiring, lasting, forged];
        let expected = vec![Some(Rejection::Expired), None, Some(Rejection::SignatureInvalid)];
        assert_eq!(fixture.verdicts(&tokens, 2), (Progress::More, expected.clone()), "three signatures");
        assert_eq!(fixture.verdicts(&tokens, 0), (Progress::Done, expected.clone()), "none");
        let wanted = Requirements { audience: Some("another"), max_staleness: None };
        let mismatch = fixture.token(1000);
        for _ in 0..2 {
            let refused = fixture.verifier.verify(&mismatch, wanted).map(drop);
            assert_eq!(refused, Err(Error::Rejected(Rejection::AudienceMismatch)));
        }
        assert_eq!(fixture.verdicts(&[mismatch], 0), (Progress::Done, vec![None]), "verified for another audience");
        fixture.use_keys();
        assert_eq!(fixture.verdicts(&tokens, 2), (Progress::More, expected), "other keys, other answers");
    }

    #[test]
    fn p1_a_batch_that_has_begun_is_answered_by_the_keys_and_the_time_of_its_end() {
        let fixture = Fixture::new();
        let tokens = [fixture.token(1), fixture.token(1000)];
        let begin = || {
            let tokens = tokens.iter().map(String::as_str);
            let mut batch = fixture.verifier.batch(tokens, Requirements::default()).expect("fresh");
            assert_eq!(fixture.verifier.advance(&mut batch, 9), Ok(Progress::Done));
            batch
        };
        let errors = |batch| {
            let (verdicts, _) = fixture.verifier.finish(batch).expect("fresh");
            verdicts.into_iter().map(Result::err).collect::<Vec<_>>()
        };
        let batch = begin();
        fixture.clock.advance(Duration::from_secs(1));
        assert_eq!(errors(batch), [Some(Rejection::Expired), None]);
        let batch = begin();
        fixture.verifier.use_keys(KeySet::from_iter([("k".into(), KeyState::Killed)]));
        assert_eq!(errors(batch), [Some(Rejection::Revoked); 2]);
        let batch = fixture.verifier.batch(["x"], Requirements::default()).expect("fresh");
        fixture.clock.advance(Duration::from_secs(31));
        assert!(matches!(fixture.verifier.finish(batch), Err(Error::Stale)));
        assert!(matches!(fixture.verifier.batch(["x"], Requirements::default()), Err(Error::Stale)));
    }
}
