//! WatchRevocations: what a verifier in another process hears.

use std::{collections::HashSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::grpc::v1::{
    GetJwksRequest, Revocation, WatchRevocationsRequest, WatchRevocationsResponse,
    auth_service_client::AuthServiceClient, revocation::Subject, revoke_request::Target,
    watch_revocations_response::Event,
};
use countersign_token::{algorithm::Algorithm, clock::Clock};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::{Instant, timeout};
use tonic::{Code, Streaming, transport::Endpoint};

use crate::support::{Proxy, Setup, TestServer, database, refusal};

/// A verifier that keeps what it hears.
pub(crate) struct Watcher {
    events: Streaming<WatchRevocationsResponse>,
    jwks: String,
    sessions: HashSet<String>,
    users: HashSet<(String, i64)>,
    pub opened_before: i64,
    position: String,
    snapshots: usize,
}

impl Watcher {
    pub(crate) async fn of(server: &TestServer, position: &str) -> Self {
        let request = WatchRevocationsRequest { position: position.to_owned() };
        let events = server.auth_client().watch_revocations(request).await.expect("watching").into_inner();
        Self {
            events,
            jwks: String::new(),
            sessions: HashSet::new(),
            users: HashSet::new(),
            opened_before: 0,
            position: position.to_owned(),
            snapshots: 0,
        }
    }

    /// The next message, taken in. Says as of when all is known, if it is a heartbeat.
    async fn hear(&mut self) -> Result<Option<Duration>, tonic::Status> {
        let message = timeout(Duration::from_secs(30), self.events.message()).await.expect("in time")?;
        match message.expect("no end without a reason").event.expect("an event") {
            Event::Keys(keys) => {
                assert_eq!(keys.issuer, "countersign");
                self.jwks = keys.jwks;
            }
            Event::Snapshot(part) => {
                self.add(part.revocations);
                self.snapshots += usize::from(!part.position.is_empty());
                self.arrive(part.position);
            }
            Event::Additions(part) => {
                self.add(part.revocations);
                self.arrive(part.position);
            }
            Event::Heartbeat(heartbeat) => {
                assert!(!self.jwks.is_empty() && !self.position.is_empty(), "keys and a snapshot come first");
                let as_of = heartbeat.complete_as_of.expect("a moment");
                return Ok(Some(as_of.try_into().unwrap_or(Duration::ZERO)));
            }
        }
        Ok(None)
    }

    fn add(&mut self, revocations: Vec<Revocation>) {
        for revocation in revocations {
            assert!(revocation.expires_at.is_some());
            match revocation.subject.expect("a subject") {
                Subject::SessionId(id) => drop(self.sessions.insert(id)),
                Subject::User(user) => drop(self.users.insert((user.user_id, user.least_epoch))),
                Subject::OpenedBefore(moment) => self.opened_before = self.opened_before.max(moment.seconds),
            }
        }
    }

    fn arrive(&mut self, position: String) {
        if !position.is_empty() {
            self.position = position;
        }
    }

    pub(crate) async fn until(&mut self, known: impl Fn(&Self) -> bool) {
        while !known(self) {
            self.hear().await.expect("it goes on");
        }
    }

    /// Until a heartbeat.
    async fn complete(&mut self) -> Duration {
        loop {
            if let Some(as_of) = self.hear().await.expect("it goes on") {
                return as_of;
            }
        }
    }
}

#[tokio::test]
async fn p1_a_watcher_hears_of_what_was_revoked_before_and_since_on_any_replica() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let (before, since) = (alice.login().await, alice.login().await);
    alice.revoke(Target::SessionId(before.session_id.clone())).await.expect("revoked");
    other.catch_up().await;
    let mut watcher = Watcher::of(&other, "").await;
    watcher.complete().await;
    assert!(watcher.sessions.contains(&before.session_id) && watcher.snapshots == 1);
    alice.revoke(Target::SessionId(since.session_id.clone())).await.expect("revoked");
    watcher.until(|w| w.sessions.contains(&since.session_id)).await;
    alice.revoke(Target::UserId(alice.id.clone())).await.expect("revoked");
    watcher.until(|w| w.users.contains(&(alice.id.clone(), 1))).await;
    assert_eq!((watcher.snapshots, watcher.sessions.len()), (1, 2), "additions, no second snapshot");
}

/// The snapshot of the one serves the other, who comes a moment later: what was revoked in between is told before the
/// heartbeat that covers it.
#[tokio::test]
async fn p1_a_watcher_that_shares_a_snapshot_hears_what_came_after_it_before_the_heartbeat() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    Watcher::of(&server, "").await.complete().await;
    for _ in 0..20 {
        let tokens = alice.login().await;
        alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
        server.catch_up().await;
        let mut second = Watcher::of(&server, "").await;
        second.complete().await;
        assert!(second.sessions.contains(&tokens.session_id));
    }
}

#[tokio::test]
async fn a_heartbeat_says_as_of_when_all_is_known_counted_from_the_call() {
    let server = TestServer::start().await;
    let mut watcher = Watcher::of(&server, "").await;
    assert_eq!(watcher.complete().await, Duration::ZERO, "no later than the call");
    server.advance(Duration::from_secs(20)).await;
    let mut as_of = Duration::ZERO;
    while as_of < Duration::from_secs(20) {
        as_of = watcher.complete().await;
    }
    assert!(as_of < Duration::from_secs(21), "{as_of:?}");
}

#[tokio::test]
async fn a_watcher_that_comes_back_goes_on_where_it_was() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let missed = alice.login().await;
    let mut first = Watcher::of(&server, "").await;
    first.complete().await;
    let position = first.position.clone();
    drop(first);
    alice.revoke(Target::SessionId(missed.session_id.clone())).await.expect("revoked");
    server.catch_up().await;
    let mut second = Watcher::of(&server, &position).await;
    second.complete().await;
    assert!(second.sessions.contains(&missed.session_id) && second.snapshots == 0);
    // A replica that started since has not got those rows, and says everything.
    let later = server.replica().await;
    for unknown in [position.as_str(), "garbage", "7:", ":", "9999:00000000000000000000000000000007"] {
        let mut watcher = Watcher::of(&later, unknown).await;
        watcher.complete().await;
        assert!(watcher.sessions.contains(&missed.session_id) && watcher.snapshots == 1, "{unknown}");
    }
}

#[tokio::test]
async fn a_watcher_hears_of_new_keys_and_of_killed_ones() {
    let server = TestServer::start().await;
    let token = server.user("alice").await.login().await.access_token;
    let kid = jsonwebtoken::decode_header(&token).expect("header").kid.expect("kid");
    let mut watcher = Watcher::of(&server, "").await;
    watcher.complete().await;
    assert!(watcher.jwks.contains(&kid));
    server.auth.keys.kill(&kid).await.expect("killed");
    watcher.until(|w| !w.jwks.contains(&kid)).await;
}

/// Everything in the log of a server with many revocations, read by somebody who has not read on for long.
#[tokio::test]
async fn a_slow_watcher_catches_up_and_holds_up_nobody() {
    let server = TestServer::start().await;
    let mut slow = Watcher::of(&server, "").await;
    slow.complete().await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let (batches, size) = (8, 20_000);
    for _ in 0..batches {
        let insert = format!(
            "WITH head AS (UPDATE revocation_head SET seq = seq + {size} RETURNING seq) \
             INSERT INTO revocations (seq, id, kind, subject, expires_at, revoked_at, reason) \
             SELECT head.seq - {size} + n, gen_random_uuid(), 'session', gen_random_uuid(), now() + interval '3 hours', \
               now(), 'revoked' FROM head, generate_series(1, {size}) n"
        );
        connection.execute(AssertSqlSafe(insert)).await.expect("many");
        server.catch_up().await;
    }
    let mut quick = Watcher::of(&server, "").await;
    quick.complete().await;
    assert_eq!(quick.sessions.len(), batches * size);
    slow.until(|w| w.sessions.len() == batches * size).await;
    assert!(slow.snapshots > 1, "it was too far behind for additions alone");
}

#[tokio::test]
async fn a_thousand_watchers_cost_one_follower() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut watchers = Vec::new();
    // 256 streams are the most of one connection.
    for _ in 0..4 {
        let channel =
            tonic::transport::Endpoint::from_shared(format!("http://{}", server.grpc_addr)).expect("endpoint");
        let channel = channel.connect().await.expect("connect");
        for _ in 0..250 {
            let mut client = countersign::grpc::v1::auth_service_client::AuthServiceClient::new(channel.clone());
            let events = client.watch_revocations(WatchRevocationsRequest::default()).await.expect("watching");
            watchers.push(events.into_inner());
        }
    }
    alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    for events in &mut watchers {
        let told = async {
            loop {
                let event = events.message().await.expect("goes on").expect("goes on").event.expect("an event");
                let (Event::Snapshot(_) | Event::Additions(_)) = &event else {
                    continue;
                };
                if format!("{event:?}").contains(&tokens.session_id) {
                    return;
                }
            }
        };
        timeout(Duration::from_secs(60), told).await.expect("each is told");
    }
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let count =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'countersign'";
    let connections: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("counted");
    assert!(connections <= 18, "{connections}: the pool, the follower and the listener");
}

#[tokio::test]
async fn a_stream_ends_with_a_reason_when_the_server_stops_or_knows_too_little() {
    let server = TestServer::start().await;
    let mut stopping = Watcher::of(&server, "").await;
    stopping.complete().await;
    let proxy = Proxy::before(&server.database_url);
    let cut_off = Setup::on(proxy.url(), server.clock.clone()).start().await;
    let mut stale = Watcher::of(&cut_off, "").await;
    stale.complete().await;
    proxy.cut();
    cut_off.clock.advance(Duration::from_secs(31));
    let ended = async |watcher: &mut Watcher| loop {
        if let Err(status) = watcher.hear().await {
            return refusal::<()>(Err(status));
        }
    };
    assert_eq!(ended(&mut stale).await, (Code::Unavailable, "REVOCATIONS_STALE".into()));
    let again = cut_off.auth_client().watch_revocations(WatchRevocationsRequest::default()).await.map(drop);
    assert_eq!(refusal(again).1, "REVOCATIONS_STALE");
    server.catch_up().await;
    let mut stopping = Watcher::of(&server, &stopping.position).await;
    stopping.complete().await;
    let (stopped, reason) = tokio::join!(server.stop(), ended(&mut stopping));
    stopped.expect("a clean stop");
    assert_eq!(reason, (Code::Unavailable, "SHUTTING_DOWN".into()));
}

#[tokio::test]
async fn a_secret_signing_key_is_given_to_nobody() {
    let mut setup = Setup::new().await;
    setup.settings.keys.signing_algorithm = Algorithm::Hs256;
    let server = setup.start().await;
    let refused = server.auth_client().watch_revocations(WatchRevocationsRequest::default()).await.map(drop);
    assert_eq!(refusal(refused), (Code::FailedPrecondition, "SIGNING_KEY_SECRET".into()));
}

/// A refresh token of the form of ours that names a key which does not exist.
fn of_an_unknown_key(token: &str) -> String {
    let mut bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("csr_").expect("a refresh token")).expect("base64url");
    bytes[1] ^= 0x7f;
    format!("csr_{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[tokio::test]
async fn made_up_keys_neither_drive_the_follower_nor_what_watchers_are_told() {
    // By a clock that goes: what was heard a moment ago does not do for the next.
    let server = Setup::on(database().await, Clock::system()).start().await;
    let alice = server.user("alice").await;
    let made_up = of_an_unknown_key(&alice.login().await.refresh_token);
    let mut watcher = Watcher::of(&server, "").await;
    watcher.complete().await;
    let mut published = server.auth.revocations().freshness_changes();
    published.mark_unchanged();
    let begun = Instant::now();
    let strangers = async {
        for _ in 0..30 {
            alice.revoke(Target::RefreshToken(made_up.clone())).await.expect("nothing of ours");
        }
    };
    let follower = async {
        let mut count = 0.0;
        loop {
            published.changed().await.expect("it goes on");
            count += 1.0;
            // Ten at once, then one more each second, and those that are due.
            let most = 12.0 + 2.1 * begun.elapsed().as_secs_f64();
            assert!(count <= most, "{count} heartbeats");
        }
    };
    let watching = async {
        let mut count = 0.0;
        loop {
            watcher.complete().await;
            count += 1.0;
            let most = 2.0 + 2.0 * begun.elapsed().as_secs_f64();
            assert!(count <= most, "{count} heartbeats are told");
        }
    };
    tokio::select! {
        () = strangers => {}
        () = follower => {}
        () = watching => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_bound_on_streams() {
    let server = TestServer::start().await;
    let mut streams = Vec::new();
    let refused = 'all: loop {
        let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc_addr)).expect("an endpoint");
        let mut client = AuthServiceClient::new(endpoint.connect().await.expect("connected"));
        for _ in 0..200 {
            match client.watch_revocations(WatchRevocationsRequest::default()).await {
                Ok(events) => streams.push(events),
                refused => break 'all refused.map(drop),
            }
        }
    };
    // Of one caller, which is an address here; four times as many of all.
    assert_eq!((streams.len(), refusal(refused)), (1024, (Code::ResourceExhausted, "OVERLOADED".into())));
    server.auth_client().get_jwks(GetJwksRequest {}).await.expect("others are served");
    streams.truncate(1000);
    let again =
        async { while server.auth_client().watch_revocations(WatchRevocationsRequest::default()).await.is_err() {} };
    timeout(Duration::from_secs(60), again).await.expect("there is room again");
}
