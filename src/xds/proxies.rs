//! The proxies that this replica tells: what each has confirmed, for whoever waits for that and for people.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::{
    sync::{Notify, watch},
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
/// Proxies that have gone and are remembered.
const MOST_GONE: usize = 4096;

/// The proxies.
#[derive(Debug)]
pub struct Proxies {
    known: Mutex<Known>,
    changed: Notify,
    /// Number of reports that were stored.
    reports: watch::Sender<u64>,
}

impl Default for Proxies {
    fn default() -> Self {
        Self { known: Mutex::default(), changed: Notify::new(), reports: watch::Sender::new(0) }
    }
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
    is_reported: bool,
    gone: bool,
}

/// The state of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    has_list: bool,
    reached: Option<Reached>,
    life: Duration,
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
    /// Adds a proxy, which has this name for the caller policy.
    pub fn add(self: &Arc<Self>, caller: String, connected_at: OffsetDateTime) -> Told {
        let mut known = self.known();
        let stream = known.next;
        known.next += 1;
        let (name, state) = ("-".to_owned(), State::default());
        known.streams.insert(stream, Proxy { name, caller, connected_at, state, is_reported: false, gone: false });
        Told { proxies: Arc::clone(self), stream }
    }

    /// Each time that a report was stored.
    pub fn reports(&self) -> watch::Receiver<u64> {
        self.reports.subscribe()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The proxies that may accept tokens, with their streams.
    fn current(&self, now: Instant) -> Vec<(u64, Proxy)> {
        let mut known = self.known();
        let accepts = |proxy: &Proxy| proxy.state.accepts_until.is_some_and(|end| now < end + LATE);
        known.streams.retain(|_, proxy| !proxy.gone || accepts(proxy));
        let gone: Vec<u64> = known.streams.iter().filter(|(_, proxy)| proxy.gone).map(|(stream, _)| *stream).collect();
        // A stranger may make as many as he likes, one after the other.
        for stream in gone.iter().take(gone.len().saturating_sub(MOST_GONE)) {
            known.streams.remove(stream);
        }
        known.streams.iter().map(|(stream, proxy)| (*stream, proxy.clone())).collect()
    }

    /// Reports them until it is dropped: each second while there are any, and at once when one has confirmed something.
    pub async fn report(&self, auth: &Auth, catalogue: &Catalogue, life: Duration) {
        let (mut count, mut were_any, mut fails) = (0, false, false);
        let mut detailed_at: Option<Instant> = None;
        loop {
            let (reached, as_of) = catalogue.contents().place();
            let now = Instant::now();
            let current = self.current(now);
            if !current.is_empty() || were_any {
                count += 1;
                let life = current.iter().map(|(_, proxy)| proxy.state.life).max().unwrap_or(life).max(life);
                let in_detail = current.is_empty() || detailed_at.is_none_or(|at| now - at >= PAUSE);
                let proxies = current.iter().map(|(_, proxy)| proxy.told(reached, now)).collect();
                let silent_after = life + LATE + 2 * PAUSE;
                let report = ProxyReport { as_of, count, silent_after, proxies, in_detail };
                let stored = auth.base.log.report_proxies(&report).await;
                if let Err(error) = stored.as_ref().map_err(|error| error.to_string())
                    && !fails
                {
                    tracing::warn!(error, "what proxies have confirmed cannot be reported");
                }
                fails = stored.is_err();
                if !fails {
                    were_any = !current.is_empty();
                    detailed_at = if in_detail { Some(now) } else { detailed_at };
                    self.note_reported(&current);
                }
            }
            sleep(LEAST_PAUSE).await;
            drop(timeout(PAUSE, self.changed.notified()).await);
        }
    }

    fn note_reported(&self, reported: &[(u64, Proxy)]) {
        let mut known = self.known();
        for (stream, as_reported) in reported {
            if let Some(proxy) = known.streams.get_mut(stream) {
                proxy.is_reported |= as_reported.state.has_list;
            }
        }
        drop(known);
        self.reports.send_modify(|count| *count += 1);
    }
}

impl Proxy {
    fn told(&self, current: Reached, now: Instant) -> ToldProxy {
        let state = &self.state;
        ToldProxy {
            name: self.name.clone(),
            has_list: state.has_list,
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
    /// Notes the name that the proxy has given itself.
    pub fn call(&self, name: &str) {
        if let Some(proxy) = self.proxies.known().streams.get_mut(&self.stream) {
            name.clone_into(&mut proxy.name);
        }
    }

    /// True once a report was stored in which the proxy counts.
    pub fn is_reported(&self) -> bool {
        self.proxies.known().streams.get(&self.stream).is_some_and(|proxy| proxy.is_reported)
    }

    /// Notes the state of the proxy.
    pub fn note(&self, subscriber: &Subscriber) {
        let mut known = self.proxies.known();
        let Some(proxy) = known.streams.get_mut(&self.stream) else { return };
        let state = State {
            has_list: subscriber.has_list(),
            reached: subscriber.reached(),
            life: subscriber.longest_life(),
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
