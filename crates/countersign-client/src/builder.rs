//! The settings of a verifier.

use std::{fmt, sync::Arc, time::Duration};

use countersign_token::clock::{BootInstant, Clock};

use crate::{
    demand::Demand,
    endpoints::Endpoints,
    follow::Follower,
    shared::{Event, Hook, Shared},
    verifier::{Fallback, Verifier},
};

/// Verified tokens that are remembered.
const REMEMBERED: usize = 10_000;

/// The settings of a verifier.
pub struct Builder {
    endpoints: Endpoints,
    demand: Demand,
    issuer: Option<String>,
    max_staleness: Duration,
    leeway: Duration,
    remembered: usize,
    fallback: Fallback,
    hook: Option<Hook>,
    clock: Clock,
}

impl Builder {
    /// Takes the time from this clock, in tests.
    #[doc(hidden)]
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Demands that tokens are for this service. Without, tokens for any service are accepted.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.demand = self.demand.audience(audience);
        self
    }

    /// Demands this issuer (claim `iss`). Without, it is what the service says.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets the bound: no token is accepted that was revoked longer ago. 10 seconds unless set.
    #[must_use]
    pub fn max_staleness(mut self, bound: Duration) -> Self {
        self.max_staleness = bound;
        self
    }

    /// Sets the grace past a token's expiry; none unless set.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Sets how many verified tokens are remembered, so that their signatures are not verified again; 10,000 unless set.
    #[must_use]
    pub fn remembered(mut self, tokens: usize) -> Self {
        self.remembered = tokens;
        self
    }

    /// Sets what becomes of tokens when too little is known here.
    #[must_use]
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = fallback;
        self
    }

    /// Tells a function of what happens, for metrics. It is called within verify, so it must not wait.
    #[must_use]
    pub fn on_event(mut self, hook: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Starts to follow the service, as a task of the runtime that this is called in.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    pub fn start(self) -> Verifier {
        let mut shared = Shared::new(self.max_staleness, self.leeway, self.remembered, self.clock);
        shared.hook = self.hook;
        let shared = Arc::new(shared);
        let connections = self.endpoints.connections();
        let follower = Follower {
            shared: Arc::clone(&shared),
            connections: Arc::clone(&connections),
            names: self.endpoints.names(),
            issuer: self.issuer,
            position: String::new(),
            complete_as_of: BootInstant::from_nanos(0),
            place: 0,
            poisoned: false,
        };
        let following = tokio::spawn(follower.run()).abort_handle();
        Verifier::new(shared, self.demand, self.fallback, connections, following)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("endpoints", &self.endpoints.names()).finish_non_exhaustive()
    }
}

impl Verifier {
    /// The settings of a verifier that follows these replicas.
    pub fn builder(endpoints: Endpoints) -> Builder {
        Builder {
            endpoints,
            demand: Demand::new(),
            issuer: None,
            max_staleness: Duration::from_secs(10),
            leeway: Duration::ZERO,
            remembered: REMEMBERED,
            fallback: Fallback::Refuse,
            hook: None,
            clock: Clock::system(),
        }
    }
}
