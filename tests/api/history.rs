//! A history of four replicas under random faults, held against promise P1: no Verify that began after a revocation was
//! confirmed, or after `everywhere_by`, says valid; and none that did not end is refused. Three replicas live in this process,
//! and lose the database in many ways; so does the fourth, which is a process of its own and is paused besides, for shorter
//! and for longer than the bound, with calls waiting at its port.
//!
//! The seed is printed. `COUNTERSIGN_HISTORY_SEED` repeats one, `COUNTERSIGN_HISTORY_SECONDS` runs for longer.

use std::{
    env,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign::{
    grpc::v1::{
        RevokeRequest, VerifyBatchRequest, VerifyRequest, VerifyResult, auth_service_client::AuthServiceClient,
        revoke_request::Target, verify_result,
    },
    store::{Store, StoreSettings},
};
use countersign_token::clock::Clock;
use private_postgres::{Cluster, Durability};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::{Code, Request, transport::Channel};

use crate::support::{PASSWORD, Pair, Process, Proxy, Replication, Setup, TestServer, User, for_a_while, refusal};

/// The number of the replica that is a process of its own: those before it live in this one.
const SLEEPER: usize = 3;
const REPLICAS: usize = SLEEPER + 1;
const USERS: usize = 4;
const BOUND: Duration = Duration::from_secs(2);
/// The fewest confirmed revocations of a history.
const ENOUGH: u64 = 6;
/// Far more than that takes.
const AT_LAST: Duration = Duration::from_secs(300);
/// The longest faults, in milliseconds: some are longer than the bound.
const LONGEST_FAULT: u64 = 4500;
const LONGEST_PAUSE: u64 = 6000;
const DEFAULT_SECONDS: u64 = 20;

/// Numbers that a seed decides (SplitMix64).
struct Random(AtomicU64);

impl Random {
    fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).expect("small")).expect("small")
    }

    fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.next() % (to - from))
    }
}

/// A session, and what was said of it.
#[derive(Default)]
struct Session {
    user: usize,
    id: String,
    access_token: String,
    /// Somebody has asked to end it: from here on it may be refused.
    asked: bool,
    /// From here on, every replica must refuse it, and from here on, the replica that was asked.
    dead_from: Option<Instant>,
    dead_there: Option<(usize, Instant)>,
    /// When Verify was called that said it is valid, and where.
    valid: Vec<(usize, Instant)>,
}

/// A user whose sessions are all being ended, or may be: what was opened meanwhile may have ended with them.
#[derive(Clone, Copy)]
struct Doubt {
    running: usize,
    until: Instant,
}

/// A call that was not answered may be carried out later, but not later than this.
const LINGERS: Duration = Duration::from_secs(15);

/// Everything that runs.
struct World {
    random: Random,
    replicas: Vec<TestServer>,
    sleeper: Process,
    proxies: Vec<Proxy>,
    users: Vec<User>,
    sessions: Mutex<Vec<Session>>,
    doubts: Mutex<[Doubt; USERS]>,
    over: AtomicBool,
    confirmed: AtomicU64,
    bounded: AtomicU64,
    pauses: AtomicU64,
}

impl World {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn client(&self, at: usize) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.replicas.get(at).map_or_else(|| self.sleeper.channel(), TestServer::channel))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Session>) -> T) -> T {
        act(&mut self.sessions.lock().expect("not poisoned"))
    }
}

async fn open_sessions(world: Arc<World>) {
    while world.goes_on() {
        let (user, at) = (world.random.below(USERS), world.random.below(REPLICAS));
        let (login, began) = (world.users[user].through(world.client(at)), Instant::now());
        if let Ok(Ok(tokens)) = timeout(BOUND, login.login_with(PASSWORD)).await {
            let (id, access_token) = (tokens.session_id, tokens.access_token);
            world.with(|sessions| {
                let doubt = world.doubts.lock().expect("not poisoned")[user];
                let asked = doubt.running > 0 || began < doubt.until;
                sessions.push(Session { user, id, access_token, asked, ..Session::default() });
            });
        }
        for_a_while(world.random.millis(1, 50)).await;
    }
}

/// Asks these replicas of sessions, one after the other; gives some calls up while others still wait for an answer.
async fn verify(world: Arc<World>, replicas: Range<usize>) {
    while world.goes_on() {
        // Hashing has a low priority, and would come to nothing beside those who never rest.
        for_a_while(world.random.millis(0, 5)).await;
        let at = replicas.start + world.random.below(replicas.len());
        let wanted = [1, 5, 20][world.random.below(3)];
        let (chosen, tokens): (Vec<usize>, Vec<String>) = world.with(|sessions| {
            let count = sessions.len();
            // Mostly of those that changed last.
            let recent = count.min(40);
            let chosen = (0..wanted.min(recent)).map(|_| count - 1 - world.random.below(recent));
            chosen.map(|chosen| (chosen, sessions[chosen].access_token.clone())).unzip()
        });
        if chosen.is_empty() {
            for_a_while(Duration::from_millis(5)).await;
            continue;
        }
        let (patience, began) = (world.random.millis(100, LONGEST_PAUSE), Instant::now());
        let said = timeout(patience, accepted(world.client(at), tokens)).await.unwrap_or_default();
        for (chosen, accepted) in chosen.into_iter().zip(said) {
            match accepted {
                Ok(()) => world.with(|sessions| sessions[chosen].valid.push((at, began))),
                Err(why) => {
                    let asked = world.with(|sessions| sessions[chosen].asked);
                    assert!(asked, "a session that nobody ended was refused: {why}");
                }
            }
        }
    }
}

/// What Verify says of one token, or VerifyBatch of several; nothing if the replica cannot tell.
async fn accepted(mut client: AuthServiceClient<Channel>, mut tokens: Vec<String>) -> Vec<Result<(), String>> {
    let said = if let [token] = &mut tokens[..] {
        let access_token = std::mem::take(token);
        client.verify(VerifyRequest { access_token, ..Default::default() }).await.map(|_| vec![Ok(())])
    } else {
        let batch = VerifyBatchRequest { access_tokens: tokens, ..Default::default() };
        let result = |result: VerifyResult| match result.result {
            Some(verify_result::Result::Principal(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        let answer = client.verify_batch(batch).await;
        answer.map(|answer| answer.into_inner().results.into_iter().map(result).collect())
    };
    match said {
        Ok(said) => said,
        Err(status) if status.code() == Code::Unavailable => vec![],
        Err(status) => vec![Err(status.to_string())],
    }
}

/// Ends one session, or all of a user.
async fn revoke(world: Arc<World>) {
    while world.goes_on() {
        for_a_while(world.random.millis(1, 150)).await;
        let at = world.random.below(REPLICAS);
        let all = world.random.below(6) == 0;
        let Some((target, ended)) = world.with(|sessions| choose(sessions, &world, all)) else {
            continue;
        };
        let wait = world.random.millis(0, 4000);
        let mut request = Request::new(RevokeRequest {
            target: Some(target),
            wait: Some(wait.try_into().expect("short")),
            ..Default::default()
        });
        request.set_timeout(2 * BOUND);
        let user = world.with(|sessions| sessions[ended[0]].user);
        let answer = world.client(at).revoke(request).await;
        let now = Instant::now();
        if all {
            let doubt = &mut world.doubts.lock().expect("not poisoned")[user];
            doubt.running -= 1;
            doubt.until = doubt.until.max(if answer.is_ok() { now } else { now + LINGERS });
        }
        let Ok(answer) = answer.map(tonic::Response::into_inner) else {
            continue;
        };
        let by = answer.everywhere_by.expect("a bound");
        let until = (by.seconds as f64 + f64::from(by.nanos) / 1e9) - seconds(Clock::system().now());
        let dead_from = if answer.confirmed { now } else { now + Duration::from_secs_f64(until.max(0.0)) };
        let counter = if answer.confirmed { &world.confirmed } else { &world.bounded };
        counter.fetch_add(1, Ordering::Relaxed);
        world.with(|sessions| {
            for index in ended {
                let session = &mut sessions[index];
                session.dead_from = Some(session.dead_from.map_or(dead_from, |before| before.min(dead_from)));
                session.dead_there.get_or_insert((at, now));
            }
        });
    }
}

fn seconds(at: time::OffsetDateTime) -> f64 {
    at.unix_timestamp_nanos() as f64 / 1e9
}

/// What to end, and which sessions that ends for certain: those whose Login has been answered by now.
fn choose(sessions: &mut [Session], world: &World, all: bool) -> Option<(Target, Vec<usize>)> {
    let open: Vec<usize> = (0..sessions.len()).filter(|index| !sessions[*index].asked).collect();
    let chosen = *open.get(world.random.below(open.len().max(1)))?;
    let user = sessions[chosen].user;
    if all {
        world.doubts.lock().expect("not poisoned")[user].running += 1;
    }
    let ended: Vec<usize> =
        if all { (0..sessions.len()).filter(|index| sessions[*index].user == user).collect() } else { vec![chosen] };
    for index in &ended {
        sessions[*index].asked = true;
    }
    let session = &sessions[chosen];
    let target = match world.random.below(2) {
        _ if all => Target::UserId(world.users[user].id.clone()),
        0 => Target::AccessToken(session.access_token.clone()),
        _ => Target::SessionId(session.id.clone()),
    };
    Some((target, ended))
}

/// One fault after the other, each for a while, some for longer than the bound.
async fn break_things(world: Arc<World>, mut cluster: Cluster) -> Cluster {
    while world.goes_on() {
        let proxy = &world.proxies[world.random.below(REPLICAS)];
        match world.random.below(8) {
            0 => proxy.cut(),
            1 => proxy.freeze(),
            2 => proxy.deafen(),
            3 | 4 => proxy.slow_down(),
            5 => terminate_backends(&cluster, "").await,
            // The connection that hears the notifications alone.
            6 => terminate_backends(&cluster, "LISTEN").await,
            _ if world.random.below(4) == 0 => {
                cluster = tokio::task::block_in_place(move || {
                    cluster.crash().expect("crashed");
                    cluster.restart().expect("restarted");
                    cluster
                });
            }
            _ => {}
        }
        for_a_while(world.random.millis(50, LONGEST_FAULT)).await;
        proxy.mend();
        for_a_while(world.random.millis(0, 1500)).await;
    }
    cluster
}

/// Pauses the replica that is a process of its own, again and again, whatever else is broken meanwhile.
async fn pause(world: Arc<World>) {
    while world.goes_on() {
        for_a_while(world.random.millis(100, 2000)).await;
        world.sleeper.pause();
        for_a_while(world.random.millis(50, LONGEST_PAUSE)).await;
        world.sleeper.resume();
        world.pauses.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ends the connections whose last statement began so.
async fn terminate_backends(cluster: &Cluster, statement: &str) {
    if let Ok(mut connection) = PgConnection::connect(&cluster.url("history")).await {
        let those = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND datname = 'history' AND query LIKE $1 || '%'",
        );
        drop(connection.execute(those.bind(statement)).await);
    }
}

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A cluster of its own, because it crashes.
async fn cluster(dir: &Dir) -> Cluster {
    let dir = dir.0.clone();
    let cluster = tokio::task::block_in_place(|| Cluster::start(&dir, Durability::Durable).expect("a Postgres"));
    let url = cluster.url("history");
    let mut connection = PgConnection::connect(&cluster.url("postgres")).await.expect("connect");
    let names = "SELECT count(*) FROM pg_database WHERE datname = 'history'";
    if sqlx::query_scalar::<_, i64>(names).fetch_one(&mut connection).await.expect("counted") == 0 {
        connection.execute("CREATE DATABASE history").await.expect("created");
    }
    let settings = StoreSettings { url, connections: 1, deadline: Duration::from_secs(10) };
    Store::new(&settings).expect("settings").migrate().await.expect("migrated");
    cluster
}

async fn replica(proxy: &Proxy) -> TestServer {
    let mut setup = Setup::on(proxy.url(), Clock::system());
    setup.settings.revocation.max_staleness = BOUND;
    // However long a history lasts.
    setup.settings.tokens.access_token_ttl = Duration::from_secs(3600);
    setup.settings.passwords.hash_threads = 1;
    setup.database_deadline = Duration::from_secs(1);
    setup.start().await
}

/// A replica of the same settings, which can be paused.
async fn sleeper(proxy: &Proxy) -> Process {
    let bound = format!("{}s", BOUND.as_secs());
    let settings = ["--max-staleness", &bound, "--access-token-ttl", "1h", "--database-deadline", "1s"];
    Process::start(env!("CARGO_BIN_EXE_countersign"), &proxy.url(), &[&settings[..], &["--hash-threads", "1"]].concat())
        .await
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_no_history_under_faults_accepts_what_was_revoked() {
    let seed = setting("COUNTERSIGN_HISTORY_SEED", u64::from(std::process::id()));
    let lasts = Duration::from_secs(setting("COUNTERSIGN_HISTORY_SECONDS", DEFAULT_SECONDS));
    println!("COUNTERSIGN_HISTORY_SEED={seed}");
    let dir = Dir(env::temp_dir().join(format!("countersign-history-{}", std::process::id())));
    let cluster = cluster(&dir).await;
    let world = world(&cluster.url("history"), seed).await;
    let work = work(&world);
    let breaking = tokio::spawn(break_things(Arc::clone(&world), cluster));
    for_a_while(lasts).await;
    until_something_happened(&world).await;
    end(&world, work).await;
    let _cluster = breaking.await.expect("the faults end");
    check(&world, seed).await;
}

/// An old primary that lives, cut off, with connections that stay; commits on it that hang, and whose wait is cancelled; an
/// address that moves; rows that are lost. One move for each half a minute, each with databases of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p1_no_history_of_a_database_that_moves_accepts_what_was_revoked() {
    let seed = setting("COUNTERSIGN_HISTORY_SEED", u64::from(std::process::id()));
    let rounds = setting("COUNTERSIGN_HISTORY_SECONDS", DEFAULT_SECONDS).div_ceil(30);
    for seed in seed..seed + rounds {
        println!("COUNTERSIGN_HISTORY_SEED={seed}");
        let mut pair = Pair::start(Replication::Synchronous).await;
        let world = world(&pair.primary_url(), seed).await;
        let work = work(&world);
        move_database(&world, &mut pair).await;
        until_something_happened(&world).await;
        end(&world, work).await;
        check(&world, seed).await;
        for proxy in &world.proxies {
            proxy.cut();
        }
    }
}

/// A busy machine gets little done: a history goes on until there is something to hold against it.
async fn until_something_happened(world: &World) {
    let happened = async {
        while world.confirmed.load(Ordering::Relaxed) < ENOUGH {
            for_a_while(Duration::from_millis(100)).await;
        }
    };
    timeout(AT_LAST, happened).await.expect("revocations are confirmed");
}

/// Some faults on the primary, then the move, then some more.
async fn move_database(world: &Arc<World>, pair: &mut Pair) {
    for _ in 0..3 {
        lose_a_row(world, &pair.primary_url()).await;
        disturb(world).await;
    }
    pair.cut_replication().await;
    for_a_while(world.random.millis(0, 1500)).await;
    pair.promote().await;
    for_a_while(world.random.millis(0, 1500)).await;
    // For all at once: what does not hold otherwise is in docs/revocation.md.
    for proxy in &world.proxies {
        proxy.redirect(&pair.standby_url());
    }
    for _ in 0..4 {
        // What hangs on the old primary becomes visible there, and nobody may call it done.
        let end = ["pg_cancel_backend", "pg_terminate_backend"][world.random.below(2)];
        pair.on_primary(&format!("SELECT {end}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")).await;
        lose_a_row(world, &pair.standby_url()).await;
        disturb(world).await;
    }
}

/// One replica's way to the database is disturbed for a while, perhaps for longer than the bound.
async fn disturb(world: &Arc<World>) {
    let proxy = &world.proxies[world.random.below(REPLICAS)];
    match world.random.below(4) {
        0 => proxy.freeze(),
        1 => proxy.deafen(),
        2 => proxy.slow_down(),
        _ => {}
    }
    for_a_while(world.random.millis(50, 2500)).await;
    proxy.mend();
    for_a_while(world.random.millis(0, 500)).await;
}

/// The row of a session that nobody has asked to end.
async fn lose_a_row(world: &Arc<World>, url: &str) {
    let lost = world.with(|sessions| {
        let open: Vec<&Session> = sessions.iter().filter(|session| !session.asked).collect();
        open.get(world.random.below(open.len().max(1))).map(|session| session.id.clone())
    });
    if let (Some(lost), Ok(mut connection)) = (lost, PgConnection::connect(url).await) {
        let delete = sqlx::query("DELETE FROM refresh_tokens WHERE session_id = $1::uuid");
        connection.execute(delete.bind(lost)).await.expect("deleted");
    }
}

/// All replicas, each with a way of its own to the database at `url`.
async fn world(url: &str, seed: u64) -> Arc<World> {
    let proxies: Vec<Proxy> = (0..REPLICAS).map(|_| Proxy::before(url)).collect();
    let mut replicas = Vec::new();
    for proxy in &proxies[..SLEEPER] {
        replicas.push(replica(proxy).await);
    }
    let sleeper = sleeper(&proxies[SLEEPER]).await;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(replicas[0].user(&format!("user-{number}")).await);
    }
    Arc::new(World {
        random: Random(AtomicU64::new(seed)),
        replicas,
        sleeper,
        proxies,
        users,
        sessions: Mutex::default(),
        doubts: Mutex::new([Doubt { running: 0, until: Instant::now() }; USERS]),
        over: AtomicBool::new(false),
        confirmed: AtomicU64::new(0),
        bounded: AtomicU64::new(0),
        pauses: AtomicU64::new(0),
    })
}

/// Those who open, verify and end sessions, and who pauses a replica.
fn work(world: &Arc<World>) -> Vec<JoinHandle<()>> {
    let mut work = Vec::new();
    for _ in 0..4 {
        work.push(tokio::spawn(open_sessions(Arc::clone(world))));
        work.push(tokio::spawn(verify(Arc::clone(world), 0..SLEEPER)));
        work.push(tokio::spawn(verify(Arc::clone(world), SLEEPER..REPLICAS)));
        work.push(tokio::spawn(revoke(Arc::clone(world))));
        // Half of them wait for the one that is paused.
        work.push(tokio::spawn(revoke(Arc::clone(world))));
    }
    work.push(tokio::spawn(pause(Arc::clone(world))));
    work
}

async fn end(world: &World, work: Vec<JoinHandle<()>>) {
    world.over.store(true, Ordering::SeqCst);
    for task in work {
        task.await.expect("no session was refused without a reason");
    }
}

/// Waits until a replica knows of every revocation that was acknowledged before `moment`.
async fn has_heard(mut client: AuthServiceClient<Channel>, moment: time::OffsetDateTime) {
    loop {
        let batch = VerifyBatchRequest { access_tokens: vec![String::new()], ..Default::default() };
        let as_of = client.verify_batch(batch).await.ok().and_then(|answer| answer.into_inner().revocations_as_of);
        if as_of.is_some_and(|as_of| as_of.seconds as f64 + f64::from(as_of.nanos) / 1e9 > seconds(moment)) {
            return;
        }
        for_a_while(Duration::from_millis(10)).await;
    }
}

/// Holds the history against the promise, and the end against both.
#[expect(clippy::print_stdout, reason = "what a run was worth is for whoever reads its output")]
async fn check(world: &World, seed: u64) {
    for proxy in &world.proxies {
        proxy.mend();
    }
    for server in &world.replicas {
        server.catch_up().await;
    }
    let caught_up = has_heard(world.client(SLEEPER), Clock::system().now());
    timeout(Duration::from_secs(60), caught_up).await.expect("the paused replica goes on");
    let sessions = world.with(std::mem::take);
    let mut verified = 0;
    for session in &sessions {
        verified += session.valid.len();
        for (at, began) in &session.valid {
            let late = session.dead_from.is_some_and(|dead| *began > dead);
            let late_there = session.dead_there.is_some_and(|(there, dead)| there == *at && *began > dead);
            assert!(!late && !late_there, "seed {seed}: replica {at} accepted session {} after its end", session.id);
        }
        for at in 0..REPLICAS {
            let request = VerifyRequest { access_token: session.access_token.clone(), ..Default::default() };
            let answer = world.client(at).verify(request).await;
            if session.dead_from.is_some() {
                assert_eq!(refusal(answer).1, "TOKEN_REVOKED", "seed {seed}");
            } else if !session.asked {
                answer.expect("nobody ended it");
            }
        }
    }
    let (confirmed, bounded) = (world.confirmed.load(Ordering::Relaxed), world.bounded.load(Ordering::Relaxed));
    let (sessions, pauses) = (sessions.len(), world.pauses.load(Ordering::Relaxed));
    println!(
        "{sessions} sessions, {verified} accepted, {confirmed} revocations confirmed, {bounded} bounded, {pauses} pauses"
    );
    assert!(verified > 100 && confirmed >= ENOUGH, "something happened");
}
