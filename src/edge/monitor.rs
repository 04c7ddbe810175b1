//! The memory of the edge: refused callers go to the audit log, and those with a limit have a rate. Rates are those of this
//! replica, and outlive a change of the policy.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use countersign_token::clock::{BootInstant, Clock};

use super::identity::Identity;
use crate::{
    audit::AuditLog,
    domain::{
        audit::Denial,
        caller::CallerId,
        rate::{Rate, RateLimit},
        rpc::Rpc,
    },
    error::Error,
};

/// Rates above which those that are full are forgotten.
const FORGET_FROM: usize = 1024;

/// The memory of the edge.
#[derive(Debug)]
pub(super) struct Monitor {
    audit: Option<Arc<AuditLog>>,
    clock: Clock,
    rates: Mutex<Rates>,
}

/// Things of which a caller may do so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Limited {
    /// Logins.
    Login,
    /// Verified tokens.
    Verify,
}

#[derive(Debug)]
struct Rates {
    of: HashMap<(Option<CallerId>, Limited), Rate>,
    forget_from: usize,
}

impl Monitor {
    pub(super) fn new(audit: Option<Arc<AuditLog>>, clock: Clock) -> Self {
        let rates = Mutex::new(Rates { of: HashMap::new(), forget_from: FORGET_FROM });
        Self { audit, clock, rates }
    }

    /// Notes that a caller was refused. Gives the error that says so.
    pub(super) fn refuse(&self, rpc: Rpc, caller: &Identity, peer: Option<IpAddr>) -> Error {
        if let Some(audit) = &self.audit {
            let (id, denial) = match caller {
                Identity::Admin => (None, Denial::NotAllowed),
                Identity::Known(id) => (Some(id), Denial::NotAllowed),
                Identity::Unknown(denial) => (None, *denial),
            };
            audit.refused_caller(rpc, id, denial, peer);
        }
        Error::CallerNotAllowed
    }

    /// Counts what a caller does, against its limit. Callers without identity have one rate together.
    ///
    /// # Errors
    /// [`Error::CallerThrottled`]: it is not counted.
    pub(super) fn count(&self, caller: &Identity, what: Limited, limit: RateLimit, count: u32) -> Result<(), Error> {
        let id = match caller {
            Identity::Known(id) => Some(id.clone()),
            Identity::Admin | Identity::Unknown(_) => None,
        };
        let now = self.clock.boot();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = rates.of((id, what), limit, now).take_up_to_burst(count, now);
        taken.map_err(|retry_after| Error::CallerThrottled { retry_after })
    }
}

impl Rates {
    fn of(&mut self, key: (Option<CallerId>, Limited), limit: RateLimit, now: BootInstant) -> &mut Rate {
        if self.of.len() >= self.forget_from {
            self.of.retain(|_, rate| !rate.is_full(now));
            self.forget_from = FORGET_FROM.max(2 * self.of.len());
        }
        let rate = self.of.entry(key).or_insert_with(|| Rate::of(limit));
        rate.set_limit(limit);
        rate
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn known(n: usize) -> Identity {
        Identity::Known(CallerId::token(&n.to_string()).expect("a name"))
    }

    fn limit(text: &str) -> RateLimit {
        RateLimit::parse(text).expect("a limit")
    }

    #[test]
    fn each_caller_has_a_rate_of_its_own_for_each_thing() {
        let monitor = Monitor::new(None, Clock::manual());
        let count = |caller, what, times| monitor.count(&caller, what, limit("2/s"), times).is_ok();
        assert!(count(known(1), Limited::Login, 1) && count(known(1), Limited::Login, 1));
        assert!(!count(known(1), Limited::Login, 1) && count(known(2), Limited::Login, 1));
        assert!(count(known(1), Limited::Verify, 1000), "a batch is at most the burst");
        assert!(!count(known(1), Limited::Verify, 1));
        let nameless = || Identity::Unknown(Denial::NoCredential);
        assert!(count(nameless(), Limited::Verify, 2) && !count(nameless(), Limited::Verify, 1));
        monitor.clock.advance(Duration::from_millis(500));
        assert!(count(known(1), Limited::Login, 1));
    }

    #[test]
    fn rates_that_are_full_again_are_forgotten() {
        let monitor = Monitor::new(None, Clock::manual());
        let count = |n| monitor.count(&known(n), Limited::Login, limit("1/s"), 1).is_ok();
        assert!((0..FORGET_FROM).all(count));
        monitor.clock.advance(Duration::from_millis(500));
        assert!(count(FORGET_FROM) && !count(0), "none is full yet");
        monitor.clock.advance(Duration::from_secs(1));
        assert!((0..2 * FORGET_FROM).all(count));
        let kept = monitor.rates.lock().expect("sound").of.len();
        assert!(kept <= 2 * FORGET_FROM, "{kept}");
    }
}
