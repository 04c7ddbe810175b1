//! Knowledge of keys and revocations, which the follower writes and the verifier reads.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use countersign_token::{
    clock::Clock,
    key_set::KeySet,
    state::RevocationState,
    verifier::{self, Settings},
};
use tokio::sync::watch;

use crate::{
    error::{Error, REVOCATIONS_STALE},
    principal::Kept,
};

/// Something that happened to a verifier, for metrics and logs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A replica is followed.
    Following {
        /// The URL of the replica.
        endpoint: &'e str,
    },
    /// The stream of a replica has ended. Another one is tried.
    Lost {
        /// The URL of the replica.
        endpoint: &'e str,
        /// The reason.
        error: &'e Error,
    },
    /// The keys have changed.
    KeysChanged,
    /// A token was accepted.
    Accepted,
    /// A token was not accepted, or nothing could be said of it.
    Refused {
        /// The reason.
        error: &'e Error,
    },
    /// The service is asked about a token, because nothing can be said of it here.
    AskedService,
}

/// A function that is told of events.
pub(crate) type Hook = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// The knowledge of a verifier.
pub(crate) struct Shared {
    pub state: Arc<RevocationState>,
    pub clock: Clock,
    pub hook: Option<Hook>,
    keyed: ArcSwapOption<Keyed>,
    leeway: std::time::Duration,
    remembered: usize,
    /// The reason for which nothing is known; None as soon as something is.
    pub lacks: watch::Sender<Option<Error>>,
}

/// A verifier for the tokens of an issuer.
struct Keyed {
    issuer: String,
    jwks: String,
    verifier: verifier::Verifier<Kept>,
}

impl Shared {
    pub(crate) fn new(
        max_staleness: std::time::Duration,
        leeway: std::time::Duration,
        remembered: usize,
        clock: Clock,
    ) -> Self {
        let state = Arc::new(RevocationState::new(max_staleness, clock.clone()));
        let (keyed, lacks) = (ArcSwapOption::empty(), watch::Sender::new(Some(Error::Unavailable(REVOCATIONS_STALE))));
        Self { state, clock, hook: None, keyed, leeway, remembered, lacks }
    }

    /// Calls a function with the verifier of the issuer; fails if no keys are known.
    pub(crate) fn with_verifier<T>(
        &self,
        call: impl FnOnce(&verifier::Verifier<Kept>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match &*self.keyed.load() {
            Some(keyed) => call(&keyed.verifier),
            None => Err(self.lack()),
        }
    }

    /// The reason for which nothing can be said.
    pub(crate) fn lack(&self) -> Error {
        self.lacks.borrow().clone().unwrap_or(Error::Unavailable(REVOCATIONS_STALE))
    }

    /// Verifies by these keys of this issuer from now on. Keys that are the same leave what is remembered.
    pub(crate) fn use_keys(&self, issuer: &str, jwks: &str, keys: KeySet) {
        match &*self.keyed.load() {
            Some(keyed) if keyed.issuer == issuer && keyed.jwks == jwks => return,
            _ => {
                let settings = Settings { issuer: issuer.to_owned(), leeway: self.leeway, remembered: self.remembered };
                let verifier = verifier::Verifier::new(settings, Arc::clone(&self.state));
                verifier.use_keys(keys);
                self.keyed.store(Some(Arc::new(Keyed { issuer: issuer.to_owned(), jwks: jwks.to_owned(), verifier })));
            }
        }
        self.tell(&Event::KeysChanged);
    }

    /// Forgets what no token can match any more.
    pub(crate) fn clean(&self) {
        self.state.evict_expired();
        if let Some(keyed) = &*self.keyed.load() {
            keyed.verifier.forget_expired(self.clock.now());
        }
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(hook) = &self.hook {
            hook(event);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(..)")
    }
}
