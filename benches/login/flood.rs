//! Verify alone and while wrong passwords come in at ten times what can be hashed: for many names and from many
//! addresses, over gRPC, whether the ones before were answered or not.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use countersign::{
    auth::Auth,
    grpc::v1::{self, auth_service_client::AuthServiceClient},
};
use countersign_token::verifier::Requirements;
use tokio::{
    runtime::Builder,
    task::JoinSet,
    time::{interval, sleep},
};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    figures::{Peak, Percentiles, mebibytes, resident},
    server::{Server, address, right, username},
};

const ROUNDS: usize = 3;
/// For how long Verify is measured, alone and under the flood, in each round.
const TURN: Duration = Duration::from_secs(8);
/// How long the flood has been there by then.
const LEAD: Duration = Duration::from_secs(2);
/// How many times the capacity is asked for.
const TIMES: f64 = 10.0;
/// So many names; the users are among them.
const NAMES: usize = 2000;
const ADDRESSES: usize = 1000;
/// How long whoever verifies waits between two calls.
const PAUSE: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_millis(5);
const CONNECTIONS: usize = 4;

/// What calls ended with.
type Outcomes = BTreeMap<String, u64>;

/// How long Verify took: called through the library, and over gRPC.
#[derive(Default)]
struct Times {
    library: Vec<Duration>,
    grpc: Vec<Duration>,
}

/// `capacity` hashes a second are what this machine can do.
pub(crate) async fn measure(server: &Server, capacity: f64) {
    let token = server.auth.login(right(0)).await.expect("logged in").tokens.access_token.expose().to_owned();
    let (mut alone, mut flooded) = (Times::default(), Times::default());
    let mut outcomes = Outcomes::new();
    let mut sent = 0;
    let before = resident();
    let peak = Peak::watch();
    for _ in 0..ROUNDS {
        alone.extend(verify(server, &token).join().expect("no panic"));
        let flood = flood(server.grpc, capacity * TIMES);
        // Until the queue is full.
        sleep(LEAD).await;
        flooded.extend(verify(server, &token).join().expect("no panic"));
        let (calls, ended) = flood.join().expect("no panic");
        sent += calls;
        for (outcome, count) in ended {
            *outcomes.entry(outcome).or_default() += count;
        }
    }
    let (most, after) = (peak.end(), resident());
    print_times(alone, flooded);
    print_outcomes(sent, &outcomes);
    let [before, most, after] = [before, most, after].map(mebibytes);
    println!("\nresident MiB, callers included: {before:.0} before, {most:.0} at most, {after:.0} after");
}

impl Times {
    fn extend(&mut self, other: Self) {
        self.library.extend(other.library);
        self.grpc.extend(other.grpc);
    }
}

/// Verifies for a turn, by a thread and a connection of its own.
fn verify(server: &Server, token: &str) -> JoinHandle<Times> {
    let (auth, grpc, token) = (Arc::clone(&server.auth), server.grpc, token.to_owned());
    on_its_own(async move || {
        let mut client = AuthServiceClient::new(connect(grpc).await);
        let (begun, mut times) = (Instant::now(), Times::default());
        while begun.elapsed() < TURN {
            times.library.push(verify_here(&auth, &token));
            let request = v1::VerifyRequest { access_token: token.clone(), ..v1::VerifyRequest::default() };
            let asked = Instant::now();
            client.verify(request).await.expect("accepted");
            times.grpc.push(asked.elapsed());
            sleep(PAUSE).await;
        }
        times
    })
}

fn verify_here(auth: &Auth, token: &str) -> Duration {
    let asked = Instant::now();
    auth.verify(token, Requirements::default()).expect("accepted");
    asked.elapsed()
}

/// Calls Login so often a second until Verify has been measured; says how many calls there were, and what each ended with.
fn flood(grpc: SocketAddr, rate: f64) -> JoinHandle<(u64, Outcomes)> {
    on_its_own(async move || {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(AuthServiceClient::new(connect(grpc).await));
        }
        let (begun, mut tick) = (Instant::now(), interval(TICK));
        let (mut calls, mut sent) = (JoinSet::new(), 0_usize);
        while begun.elapsed() < LEAD + TURN {
            tick.tick().await;
            let due = (begun.elapsed().as_secs_f64() * rate) as usize;
            for number in sent..due {
                let mut client = clients[number % CONNECTIONS].clone();
                calls.spawn(async move { client.login(wrong(number)).await.map(drop) });
            }
            sent = sent.max(due);
        }
        let mut outcomes = Outcomes::new();
        for call in calls.join_all().await {
            *outcomes.entry(outcome(call)).or_default() += 1;
        }
        (sent as u64, outcomes)
    })
}

/// Runs work on a thread and a runtime of its own, so that it shares nothing with the server but the machine.
fn on_its_own<T: Send + 'static>(work: impl AsyncFnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::spawn(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work())
    })
}

async fn connect(addr: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{addr}")).expect("endpoint").connect().await.expect("connected")
}

fn wrong(number: usize) -> v1::LoginRequest {
    v1::LoginRequest {
        username: username(number % NAMES).as_str().to_owned(),
        password: format!("not the password {number}"),
        client: Some(v1::ClientInfo { ip: address(number % ADDRESSES), ..v1::ClientInfo::default() }),
        ..v1::LoginRequest::default()
    }
}

/// The code, and the reason that the service gives.
fn outcome(ended: Result<(), Status>) -> String {
    let status = ended.expect_err("a wrong password");
    let reason = status.get_details_error_info().map_or_else(|| "no reason".to_owned(), |info| info.reason);
    format!("{:?} | {reason}", status.code())
}

fn print_times(alone: Times, flooded: Times) {
    println!("\n# Verify alone and under a flood of {TIMES} times what can be hashed\n");
    println!(
        "| Verify | alone p50 / p99 µs | flooded p50 / p99 µs | times (p50 / p99) |\n| --- | ---: | ---: | ---: |"
    );
    for (way, alone, flooded) in [("library", alone.library, flooded.library), ("gRPC", alone.grpc, flooded.grpc)] {
        let [alone, flooded] = [alone, flooded].map(Percentiles::of);
        let micros = |of: Percentiles| format!("{} / {}", of.p50.as_micros(), of.p99.as_micros());
        println!("| {way} | {} | {} | {} |", micros(alone), micros(flooded), flooded.ratio(alone));
    }
}

fn print_outcomes(sent: u64, outcomes: &Outcomes) {
    let ended: u64 = outcomes.values().sum();
    println!("\n{sent} logins were sent, {ended} ended:\n");
    println!("| status | reason | logins |\n| --- | --- | ---: |");
    for (outcome, count) in outcomes {
        println!("| {outcome} | {count} |");
    }
}
