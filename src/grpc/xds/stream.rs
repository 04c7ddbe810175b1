//! A stream of a proxy: hears what it wants and confirms, and sends what `xds` says is due.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Status, Streaming};

use super::messages::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use crate::{
    auth::Auth,
    error::Error,
    grpc::status::status,
    net::Place,
    xds::{Ack, Catalogue, Name, Proxies, Push, Pushed, Subscriber, Told, resource_of},
};

/// The one kind of resources that there are.
const KIND: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
/// Messages that wait for a proxy that reads slowly, and for how long it may take none.
const BUFFERED: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);
/// Duration of a stream: proxies find new replicas.
const LIFE: Duration = Duration::from_secs(3600);

/// The things that all streams need.
#[derive(Clone, Debug)]
pub(super) struct Teller {
    pub auth: Arc<Auth>,
    pub catalogue: Arc<Catalogue>,
    pub proxies: Arc<Proxies>,
    /// Time after which a proxy refuses if nothing is confirmed to it.
    pub ttl: Duration,
}

type Sent = Result<DeltaDiscoveryResponse, Status>;

/// The messages that a proxy receives.
#[derive(Debug)]
pub(in crate::grpc) struct Pushes(ReceiverStream<Sent>);

impl Stream for Pushes {
    type Item = Sent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Sent>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

/// Begins a stream, which ends when `drain` says so.
pub(super) fn open(
    teller: Teller,
    caller: String,
    heard: Streaming<DeltaDiscoveryRequest>,
    mut drain: watch::Receiver<bool>,
    place: Place<String>,
) -> Pushes {
    let (outbox, received) = mpsc::channel(BUFFERED);
    let subscriber = Subscriber::new(teller.ttl);
    tokio::spawn(async move {
        let told = teller.proxies.add(caller.clone(), teller.auth.base.clock.now());
        let proxy = String::new();
        let mut session = Session { teller, subscriber, outbox: outbox.clone(), caller, proxy, told, lags: false };
        // Proxies of a fleet do not come back at one moment.
        let life = LIFE - LIFE.mul_f64(f64::from(session.teller.auth.base.clock.now().nanosecond()) / 4e9);
        let error = tokio::select! {
            () = session.run(heard) => None,
            () = sleep(life) => None,
            Ok(_) = drain.wait_for(|drain| *drain) => Some(Error::ShuttingDown),
        };
        tracing::info!(proxy = session.proxy, "a proxy is told no more");
        drop(session);
        if let Some(error) = error {
            drop(timeout(PATIENCE, outbox.send(Err(status(error)))).await);
        }
        drop(place);
    });
    Pushes(ReceiverStream::new(received))
}

struct Session {
    teller: Teller,
    subscriber: Subscriber,
    outbox: mpsc::Sender<Sent>,
    /// The caller policy's name of the proxy.
    caller: String,
    /// The name that the proxy has given itself.
    proxy: String,
    /// The entry among those that are told.
    told: Told,
    /// True if it was said that it lags.
    lags: bool,
}

impl Session {
    async fn run(&mut self, mut heard: Streaming<DeltaDiscoveryRequest>) {
        let mut changes = self.teller.catalogue.changes();
        let mut reports = self.teller.proxies.reports();
        loop {
            tokio::select! {
                message = heard.message() => match message {
                    Ok(Some(message)) => {
                        let unknown = self.hear(message);
                        if !unknown.is_empty() && !self.tell(removed(unknown)).await {
                            return;
                        }
                    }
                    Ok(None) | Err(_) => return,
                },
                // The sender lives as long as the catalogue.
                _ = changes.changed() => {}
                _ = reports.changed(), if !self.told.is_reported() => {}
                () = sleep(self.teller.ttl / 6) => {}
            }
            self.note();
            let due = self.due();
            self.note();
            for push in due {
                if !self.tell(response(push)).await {
                    return;
                }
            }
        }
    }

    /// Notes what the proxy says. Gives the names that there are not.
    fn hear(&mut self, message: DeltaDiscoveryRequest) -> Vec<String> {
        // Envoy says it once, perhaps with a message of another kind.
        if let Some(node) = message.node.filter(|_| self.proxy.is_empty()) {
            self.proxy = Some(harmless(&node.id, 128)).filter(|name| !name.is_empty()).unwrap_or("-".to_owned());
            self.told.call(&self.proxy);
            tracing::info!(proxy = self.proxy, caller = self.caller, "a proxy wants to be told of revocations");
        }
        if message.type_url != KIND {
            return Vec::new();
        }
        if let Ok(nonce) = message.response_nonce.parse() {
            let refusal = message.error_detail.map(|detail| harmless(&detail.message, 1000));
            self.answered(&Ack { nonce, refusal });
        }
        let wanted = message.resource_names_subscribe;
        let versions = message.initial_resource_versions;
        let known = wanted.iter().filter_map(|name| Some((Name::parse(name)?, versions.get(name).map(String::as_str))));
        self.subscriber.subscribe(known, &self.teller.catalogue.contents());
        self.subscriber.unsubscribe(message.resource_names_unsubscribe.iter().filter_map(|name| Name::parse(name)));
        wanted.into_iter().filter(|name| Name::parse(name).is_none()).collect()
    }

    /// Notes the proxy's word on a push.
    fn answered(&mut self, ack: &Ack) {
        let refused = self.subscriber.hear(ack, Instant::now());
        if let (Some(refused), Some(reason)) = (refused, &ack.refusal) {
            let resources = refused.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            tracing::error!(proxy = self.proxy, resources, reason, "a proxy refuses what it is told of revocations");
        }
    }

    /// Notes for others what the proxy has confirmed, and says if it lags.
    fn note(&mut self) {
        self.told.note(&self.subscriber);
        let lag = self.subscriber.waits_since().map(|since| since.elapsed()).filter(|lag| *lag > self.teller.ttl);
        if let Some(lag) = lag.filter(|_| !self.lags) {
            tracing::warn!(proxy = self.proxy, ?lag, "a proxy does not confirm what it is told of revocations");
        }
        self.lags = lag.is_some();
    }

    fn due(&mut self) -> Vec<Push> {
        let contents = self.teller.catalogue.contents();
        let now = Instant::now();
        let age = contents.complete_as_of().map(|as_of| self.teller.auth.base.clock.moment().since(as_of));
        let is_fresh = self.teller.auth.revocations().state().fresh(None).is_ok();
        let as_of = age.filter(|_| is_fresh && self.may_be_told()).and_then(|age| now.checked_sub(age));
        self.subscriber.due(&contents, as_of, now)
    }

    /// False for a proxy that has to confirm what is revoked, before others know that there is one.
    fn may_be_told(&self) -> bool {
        let counts = self.teller.auth.base.log.policy().proxies_confirm && self.subscriber.has_list();
        !counts || self.told.is_reported()
    }

    /// Sends a message. False if the proxy reads nothing, or has gone.
    async fn tell(&self, message: DeltaDiscoveryResponse) -> bool {
        matches!(timeout(PATIENCE, self.outbox.send(Ok(message))).await, Ok(Ok(())))
    }
}

/// A text of a stranger that forges no line of the log and goes into any database, cut to so many characters.
fn harmless(text: &str, most: usize) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(most).collect()
}

fn response(push: Push) -> DeltaDiscoveryResponse {
    let resources = push.resources.into_iter().map(resource).collect();
    DeltaDiscoveryResponse { resources, type_url: KIND.to_owned(), nonce: push.nonce.to_string(), ..Default::default() }
}

fn resource(pushed: Pushed) -> Resource {
    let name = pushed.name.to_string();
    let resource = pushed.content.map(|content| resource_of(&name, &content).into());
    let ttl = pushed.ttl.and_then(|ttl| ttl.try_into().ok());
    Resource { version: pushed.version, resource, name, ttl }
}

/// Says that resources are not there.
fn removed(names: Vec<String>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse { removed_resources: names, type_url: KIND.to_owned(), ..Default::default() }
}
