//! Proxies that are told what has ended, by raw streams: who has confirmed what, and what one that comes back is sent. What a real
//! Envoy makes of it is in tests/mesh.

use std::{collections::HashMap, time::Duration};

use countersign::{
    grpc::v1::{RevokeRequest, RevokeResponse, revoke_request::Target},
    store::{proxies, replicas},
};
use prost::Message;
use sqlx::{Connection as _, Executor as _};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming, client::Grpc};

use crate::support::{Proxy, Setup, TestServer, User};

const KIND: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
const PATIENT: Duration = Duration::from_secs(20);
const NAMES: [&str; 3] = ["countersign-base-0-of-1", "countersign-recent", "countersign-opened"];

#[derive(Clone, PartialEq, Message)]
struct DeltaRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(string, tag = "2")]
    type_url: String,
    #[prost(string, repeated, tag = "3")]
    subscribe: Vec<String>,
    #[prost(map = "string, string", tag = "5")]
    versions: HashMap<String, String>,
    #[prost(string, tag = "6")]
    nonce: String,
    #[prost(message, optional, tag = "7")]
    error: Option<Refusal>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Refusal {
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct DeltaResponse {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Resource>,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(string, repeated, tag = "6")]
    removed: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(bytes = "vec", optional, tag = "2")]
    content: Option<Vec<u8>>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(message, optional, tag = "6")]
    ttl: Option<prost_types::Duration>,
}

/// A proxy, which takes what it is sent when it is told to.
struct Told {
    outbox: mpsc::Sender<DeltaRequest>,
    inbox: Streaming<DeltaResponse>,
    versions: HashMap<String, String>,
}

impl Told {
    async fn by(server: &TestServer, names: &[&str], versions: HashMap<String, String>) -> Self {
        let (outbox, requests) = mpsc::channel(100);
        let mut client = Grpc::new(server.channel());
        client.ready().await.expect("a server");
        let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        let codec = tonic_prost::ProstCodec::<DeltaRequest, DeltaResponse>::default();
        // Envoy says its name once, with a message of whatever kind it has first.
        let node = Some(Node { id: "edge-1\n".to_owned() });
        let other = DeltaRequest { node, type_url: "another".to_owned(), ..DeltaRequest::default() };
        outbox.send(other).await.expect("sent");
        let first = DeltaRequest {
            type_url: KIND.to_owned(),
            subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            versions: versions.clone(),
            ..DeltaRequest::default()
        };
        outbox.send(first).await.expect("sent");
        let requests = Request::new(ReceiverStream::new(requests));
        let answer = client.streaming(requests, http::uri::PathAndQuery::from_static(path), codec).await;
        Self { outbox, inbox: answer.expect("a stream").into_inner(), versions }
    }

    async fn hear(&mut self) -> DeltaResponse {
        timeout(PATIENT, self.inbox.message()).await.expect("in time").expect("it goes on").expect("no end")
    }

    async fn answer(&mut self, message: DeltaResponse, refusal: Option<&str>) {
        if refusal.is_none() {
            self.versions.extend(message.resources.into_iter().map(|it| (it.name, it.version)));
        }
        let error = refusal.map(|reason| Refusal { message: reason.to_owned() });
        let answer = DeltaRequest { type_url: KIND.to_owned(), nonce: message.nonce, error, ..DeltaRequest::default() };
        self.outbox.send(answer).await.expect("sent");
    }

    /// Takes all that it is sent until everything has been confirmed to it. Gives the names of what was sent whole.
    async fn complete(&mut self) -> Vec<String> {
        let mut whole = Vec::new();
        loop {
            let message = self.hear().await;
            let is_confirmation = message.resources.iter().any(|it| it.content.is_none());
            whole.extend(message.resources.iter().filter(|it| it.content.is_some()).map(|it| it.name.clone()));
            self.answer(message, None).await;
            if is_confirmation {
                return whole;
            }
        }
    }

    async fn subscribe(&self, name: &str) {
        let subscribe = vec![name.to_owned()];
        let request = DeltaRequest { type_url: KIND.to_owned(), subscribe, ..DeltaRequest::default() };
        self.outbox.send(request).await.expect("sent");
    }

    /// Takes all that it is sent from now on.
    fn goes_on(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Ok(Some(message)) = self.inbox.message().await {
                self.answer(message, None).await;
            }
        })
    }
}

async fn revoke(server: &TestServer, session_id: &str, wait: Duration) -> RevokeResponse {
    let target = Some(Target::SessionId(session_id.to_owned()));
    let request = RevokeRequest { target, wait: wait.try_into().ok(), ..Default::default() };
    server.auth_client().revoke(request).await.expect("revoked").into_inner()
}

fn counts(answer: &RevokeResponse) -> (i32, i32) {
    (answer.proxies_connected, answer.proxies_confirmed)
}

/// Revokes a session of the user until the answer is of so many proxies.
async fn revoke_until(server: &TestServer, alice: &User, connected: i32) -> RevokeResponse {
    let session = alice.login().await.session_id;
    timeout(PATIENT, async {
        loop {
            let answer = revoke(server, &session, Duration::from_millis(10)).await;
            if answer.proxies_connected == connected {
                return answer;
            }
        }
    })
    .await
    .expect("in time")
}

async fn where_proxies_count() -> TestServer {
    let mut setup = Setup::new().await;
    setup.settings.revocation.proxies_confirm = true;
    setup.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_where_proxies_count_revoke_waits_for_those_of_other_replicas() {
    let server = where_proxies_count().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let mut proxy = Told::by(&other, &NAMES, HashMap::new()).await;
    proxy.complete().await;
    revoke_until(&server, &alice, 1).await;
    let session = alice.login().await.session_id;
    let answer = revoke(&server, &session, Duration::from_millis(200)).await;
    assert!(!answer.confirmed && counts(&answer) == (1, 0), "it has taken nothing: {answer:?}");
    let going = proxy.goes_on();
    let answer = revoke(&server, &session, PATIENT).await;
    assert!(answer.confirmed && counts(&answer) == (1, 1), "{answer:?}");
    for _ in 0..5 {
        let answer = revoke(&server, &alice.login().await.session_id, PATIENT).await;
        assert!(answer.confirmed && counts(&answer) == (1, 1), "{answer:?}");
    }
    going.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_do_not_keep_a_caller_waiting_unless_they_count() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut proxy = Told::by(&server, &NAMES, HashMap::new()).await;
    proxy.complete().await;
    let answer = revoke_until(&server, &alice, 1).await;
    assert!(answer.confirmed && counts(&answer) == (1, 0), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_proxy_that_has_gone_counts_until_its_lists_have_expired() {
    let server = where_proxies_count().await;
    let alice = server.user("alice").await;
    let mut proxy = Told::by(&server, &["countersign-recent-ttl-2s"], HashMap::new()).await;
    proxy.complete().await;
    revoke_until(&server, &alice, 1).await;
    drop(proxy);
    let answer = revoke(&server, &alice.login().await.session_id, Duration::from_millis(50)).await;
    assert!(!answer.confirmed && counts(&answer) == (1, 0), "it may accept tokens: {answer:?}");
    let answer = revoke_until(&server, &alice, 0).await;
    assert!(answer.confirmed, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_the_proxies_of_a_replica_that_was_killed_count_until_its_silence_is_long_enough() {
    let server = where_proxies_count().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let mut proxy = Told::by(&other, &NAMES, HashMap::new()).await;
    proxy.complete().await;
    revoke_until(&server, &alice, 1).await;
    // Its report stays as it is: nobody is left to change it.
    let mut sql = sqlx::PgConnection::connect(&server.database_url).await.expect("connect");
    other.stop().await.expect("stopped");
    sql.execute("UPDATE proxy_reports SET count = 1000").await.expect("an entry");
    assert_eq!(counts(&revoke(&server, &alice.login().await.session_id, Duration::ZERO).await), (1, 0));
    // Silence is counted from when it was read first, which may be after the clock has moved.
    let session = alice.login().await.session_id;
    let silent = async {
        loop {
            server.advance(Duration::from_secs(60)).await;
            let answer = revoke(&server, &session, Duration::from_millis(10)).await;
            if answer.proxies_connected == 0 {
                return answer;
            }
        }
    };
    let answer = timeout(PATIENT, silent).await.expect("in time");
    assert!(answer.confirmed, "{answer:?}");
    server.advance(Duration::from_secs(600)).await;
    server.auth.base.log.clean().await.expect("cleaned");
    let mut conn = server.auth.base.store.acquire().await.expect("a connection");
    assert!(proxies::all(&mut conn).await.expect("listed").is_empty());
}

/// The replica is cut from its database: a proxy that comes to it then is told nothing, once what it knows is older than a life.
#[tokio::test(flavor = "multi_thread")]
async fn p1_a_replica_that_hears_nothing_tells_a_proxy_nothing() {
    let server = TestServer::start().await;
    let wire = Proxy::before(&server.database_url);
    let cut_off = Setup::on(wire.url(), server.clock.clone()).start().await;
    Told::by(&cut_off, &NAMES, HashMap::new()).await.complete().await;
    wire.cut();
    cut_off.clock.advance(Duration::from_secs(11));
    let mut proxy = Told::by(&cut_off, &[NAMES[1], "another"], HashMap::new()).await;
    // Whatever is due is sent after each message that it hears, and before the next.
    for name in ["another", "yet-another", "and-another"] {
        proxy.subscribe(name).await;
        let message = proxy.hear().await;
        assert!(message.resources.is_empty() && message.removed.len() == 1, "{message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_comes_back_is_not_sent_again_what_it_has() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    revoke(&server, &alice.login().await.session_id, PATIENT).await;
    let mut proxy = Told::by(&server, &NAMES, HashMap::new()).await;
    proxy.complete().await;
    let versions = proxy.versions.clone();
    assert_eq!(versions.len(), NAMES.len());
    drop(proxy);
    let base = NAMES[0].to_owned();
    let mut again = Told::by(&server, &NAMES, versions.clone()).await;
    assert!(!again.complete().await.contains(&base));
    // Another replica's numbers mean other things.
    let other = server.replica().await;
    let mut elsewhere = Told::by(&other, &NAMES, versions).await;
    let whole = elsewhere.complete().await;
    let place = |name: &str| whole.iter().position(|it| it == name).expect("sent");
    assert!(place("countersign-recent") < place(&base), "first what is in no base that it has: {whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_and_a_name_are_shown_as_what_a_stranger_has_sent() {
    let server = TestServer::start().await;
    let mut proxy = Told::by(&server, &["countersign-recent", "another"], HashMap::new()).await;
    assert_eq!(proxy.hear().await.removed, ["another"]);
    let message = proxy.hear().await;
    let ttl = message.resources[0].ttl.expect("it expires");
    assert!((8..=10).contains(&ttl.seconds), "{ttl:?}");
    // No text of a stranger keeps a report from being stored.
    let reason = format!("no such\u{0}\u{1b} matcher{}", "!".repeat(100_000));
    proxy.answer(message, Some(&reason)).await;
    let mut conn = server.auth.base.store.acquire().await.expect("a connection");
    let refusal = async {
        loop {
            let all = proxies::all(&mut conn).await.expect("listed");
            if let Some(reason) = all.first().and_then(|it| it.proxy.refusal.clone()) {
                return (all[0].proxy.name.clone(), reason);
            }
        }
    };
    let (name, reason) = timeout(PATIENT, refusal).await.expect("in time");
    assert!(name == "edge-1" && reason.starts_with("no such matcher!!!"), "{name}: {reason}");
    assert_eq!(reason.len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_one_proxy_whatever_it_says_and_counts_if_it_has_a_list() {
    let server = TestServer::start().await;
    let keys = Told::by(&server, &["countersign-tokens"], HashMap::new()).await;
    let mut proxy = Told::by(&server, &["countersign-recent-ttl-300s"], HashMap::new()).await;
    for _ in 0..100 {
        let node = Some(Node { id: "\u{1}".to_owned() });
        let again = DeltaRequest { node, type_url: KIND.to_owned(), ..DeltaRequest::default() };
        proxy.outbox.send(again).await.expect("sent");
    }
    proxy.complete().await;
    let alice = server.user("alice").await;
    assert_eq!(counts(&revoke_until(&server, &alice, 1).await), (1, 0));
    let mut conn = server.auth.base.store.acquire().await.expect("a connection");
    let shown = async { while proxies::all(&mut conn).await.expect("listed").len() != 2 {} };
    timeout(PATIENT, shown).await.expect("in time");
    // The report counts for as long as any proxy of the replica may accept tokens.
    let listed = replicas::list(&mut conn, &[]).await.expect("listed").proxies;
    assert!(listed[0].replica.max_staleness > Duration::from_secs(300), "{listed:?}");
    drop(keys);
}
