//! The proxies that this replica tells: what each has confirmed, for whoever waits for that and for people.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    catalogue::{Catalogue, Reached},
    subscriber::Subscriber,
};
use crate::{
    auth::Auth,
    domain::proxy::{ProxyReport, ToldProxy},
};

/// Time between two reports if nothing changes, and the least time between two.
const PAUSE: Duration = Duration::from_secs(1);
const LEAST_PAUSE: Duration = Duration::from_millis(2);
/// The longest time that a message is on its way: then keepalives have ended the stream.
const LATE: Duration = Duration::from_secs(2);

/// The proxies.
#[derive(Debug, Default)]
pub struct Proxies {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    streams: BTreeMap<u64, Proxy>,
    next: u64,
}

/// A proxy on its stream, and after it has gone until it accepts no tokens any more.
#[derive(Clone, Debug)]
struct Proxy {
    name: String,
    caller: String,
    connected_at: OffsetDateTime,
    state: State,
    gone: bool,
}

/// The state of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    has_list: bool,
    reached: Option<Reached>,
    accepts_until: Option<Instant>,
    waits_since: Option<Instant>,
    refusal: Option<String>,
}

/// A stream's entry. The proxy has gone when this is dropped.
#[derive(Debug)]
pub struct Told {
    proxies: Arc<Proxies>,
    stream: u64,
}

impl Proxies {
    /// Adds a proxy of this name, and of this name for the caller policy.
    pub fn add(self: &Arc<Self>, name: String, caller: String, connected_at: OffsetDateTime) -> Told {
        let mut known = self.known();
        let stream = known.next;
        known.next += 1;
        known.streams.insert(stream, Proxy { name, caller, connected_at, state: State::default(), gone: false });
        Told { proxies: Arc::clone(self), stream }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proxies that are told of sessions and users, compared with what the catalogue has reached.
    fn list(&self, current: Reached, now: Instant) -> Vec<ToldProxy> {
        let mut known = self.known();
        known.streams.retain(|_, proxy| !proxy.gone || proxy.state.accepts_until.is_some_and(|end| now < end + LATE));
        let listed = known.streams.values().filter(|proxy| proxy.state.has_list);
        listed.map(|proxy| proxy.told(current, now)).collect()
    }

    /// Reports them until it is dropped: each second while there are any, and at once when one has confirmed something.
    pub async fn report(&self, auth: &Auth, catalogue: &Catalogue, life: Duration) {
        let mut count = 0;
        let mut reported = Vec::new();
        loop {
            let (reached, as_of) = catalogue.contents().place();
            let proxies = self.list(reached, Instant::now());
            if !proxies.is_empty() || !reported.is_empty() {
                count += 1;
                let report = ProxyReport { as_of, count, silent_after: 2 * life + LATE + 2 * PAUSE, proxies };
                match auth.base.log.report_proxies(&report).await {
                    Ok(()) => reported = report.proxies,
                    Err(error) => tracing::debug!(%error, "what proxies have confirmed could not be reported"),
                }
            }
            sleep(LEAST_PAUSE).await;
            drop(timeout(PAUSE, self.changed.notified()).await);
        }
    }
}

impl Proxy {
    fn told(&self, current: Reached, now: Instant) -> ToldProxy {
        let state = &self.state;
        ToldProxy {
            name: self.name.clone(),
            caller: self.caller.clone(),
            connected_at: self.connected_at,
            reached: state.reached.filter(|reached| reached.is_of(current)).map(|reached| reached.seq),
            lag: state.waits_since.map_or(Duration::ZERO, |since| now.duration_since(since)),
            refusal: state.refusal.clone(),
            is_connected: !self.gone,
        }
    }
}

impl Told {
    /// Notes the state of the proxy.
    pub fn note(&self, subscriber: &Subscriber) {
        let mut known = self.proxies.known();
        let Some(proxy) = known.streams.get_mut(&self.stream) else { return };
        let state = State {
            has_list: subscriber.has_list(),
            reached: subscriber.reached(),
            accepts_until: subscriber.accepts_until(),
            waits_since: subscriber.waits_since(),
            refusal: subscriber.refusal().map(ToOwned::to_owned),
        };
        let has_confirmed = state.reached != proxy.state.reached || state.has_list != proxy.state.has_list;
        proxy.state = state;
        drop(known);
        if has_confirmed {
            self.proxies.changed.notify_one();
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(proxy) = self.proxies.known().streams.get_mut(&self.stream) {
            proxy.gone = true;
        }
        self.proxies.changed.notify_one();
    }
}
