//! Clients that mean harm, in raw frames of HTTP/2 (RFC 9113) against a server that is a process of its own. Meanwhile another
//! caller's Verify goes on, and the memory of the server stays bounded. `--nocapture` shows the figures.

#![expect(clippy::print_stdout, reason = "what an attack came to is for whoever reads the output")]

use std::{fs, time::Duration};

use countersign::grpc::v1::{VerifyRequest, auth_service_client::AuthServiceClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};
use tonic::{Code, transport::Channel};

use crate::support::{Process, database};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames of a flood, far above every limit.
const FLOOD: u32 = 100_000;
/// The most memory that the server may take in an attack, beside what it had.
const MEMORY: u64 = 96 << 20;
/// The longest time in which another caller gets an answer: these machines are slow and busy, and the attack goes on.
const ANSWER: Duration = Duration::from_secs(10);
/// Longer than any time limit of the server.
const CLOSED: Duration = Duration::from_secs(90);

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header without the dynamic table (RFC 7541 section 6.2.2).
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

/// The headers of a call of gRPC.
fn call(path: &str) -> Vec<u8> {
    [
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", path),
        header(":authority", "a"),
        header("content-type", "application/grpc"),
        header("te", "trailers"),
    ]
    .concat()
}

fn verify() -> Vec<u8> {
    call("/countersign.v1.AuthService/Verify")
}

/// The streams that a client may open, one after the other.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// A server that is attacked.
struct Victim {
    process: Process,
    memory: u64,
}

impl Victim {
    async fn start() -> Self {
        let settings = ["--max-connections-per-address", "8192"];
        let process = Process::start(BINARY, &database().await, &settings).await;
        let victim = Self { process, memory: 0 };
        victim.serves(8).await;
        let memory = victim.memory();
        Self { memory, ..victim }
    }

    /// Bytes of memory that it has.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Calls Verify over a connection of its own; gives the longest time that it took.
    async fn serves(&self, calls: usize) -> Duration {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.process.grpc_addr));
        let connected = timeout(ANSWER, endpoint.expect("endpoint").connect()).await.expect("in time");
        let mut client: AuthServiceClient<Channel> = AuthServiceClient::new(connected.expect("connected"));
        let mut longest = Duration::ZERO;
        for _ in 0..calls {
            let begun = Instant::now();
            let request = VerifyRequest { access_token: "none".to_owned(), ..Default::default() };
            let answer = timeout(ANSWER, client.verify(request)).await.expect("in time");
            assert_eq!(answer.expect_err("no token").code(), Code::Unauthenticated);
            longest = longest.max(begun.elapsed());
        }
        longest
    }

    async fn connect(&self) -> TcpStream {
        let mut client = TcpStream::connect(&self.process.grpc_addr).await.expect("connected");
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("sent");
        client
    }

    /// Sends a flood, as far as the server takes it, while another caller calls.
    async fn endures(&self, name: &str, first: Vec<u8>, flood: impl Iterator<Item = Vec<u8>>) -> Ended {
        let (mut reader, mut writer) = self.connect().await.into_split();
        let reading = tokio::spawn(async move {
            let mut answer = Vec::new();
            drop(reader.read_to_end(&mut answer).await);
            answer.len()
        });
        let attack = async {
            writer.write_all(&first).await?;
            for frames in flood {
                writer.write_all(&frames).await?;
            }
            std::io::Result::Ok(())
        };
        let mut ended = Ended::Open;
        let mut others = Duration::ZERO;
        let mut peak = 0;
        tokio::select! {
            sent = attack => if sent.is_err() { ended = Ended::Closed },
            () = async {
                loop {
                    others = others.max(self.serves(50).await);
                    peak = peak.max(self.memory());
                }
            } => {}
        }
        others = others.max(self.serves(50).await);
        peak = peak.max(self.memory());
        if ended == Ended::Open && reading.is_finished() {
            ended = Ended::Closed;
        }
        reading.abort();
        self.report(name, peak, others, &format!("{ended:?}"));
        ended
    }

    fn report(&self, name: &str, peak: u64, others: Duration, what: &str) {
        let grown = peak.saturating_sub(self.memory);
        println!("{name}: {what}, memory +{} KiB, others' longest Verify {others:?}", grown / 1024);
        assert!(grown < MEMORY, "{name}: {grown} bytes");
    }
}

/// The end of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    Open,
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_made_and_reset_at_once_end_their_connection() {
    let victim = Victim::start().await;
    let rapid = streams().take(FLOOD as usize).map(|stream| {
        let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS, stream, &verify()), reset].concat()
    });
    assert_eq!(victim.endures("rapid reset", vec![], rapid).await, Ended::Closed);
    let forced = streams().take(FLOOD as usize).map(|stream| {
        let wrong = frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS, stream, &verify()), wrong].concat()
    });
    assert_eq!(victim.endures("forced resets", vec![], forced).await, Ended::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_end_end_their_connection() {
    let victim = Victim::start().await;
    let first = frame(HEADERS, 0, 1, &verify());
    let more = (0..FLOOD).map(|_| frame(CONTINUATION, 0, 1, &header("x", &"y".repeat(100))));
    assert_eq!(victim.endures("CONTINUATION", first.clone(), more).await, Ended::Closed);
    let empty = (0..FLOOD).map(|_| frame(CONTINUATION, 0, 1, &[]));
    assert_eq!(victim.endures("empty CONTINUATION", first, empty).await, Ended::Closed);
    let large = (0..8).flat_map(|_| header("x", &"y".repeat(120))).collect::<Vec<_>>().repeat(32);
    let many = streams().take(1000).map(|stream| {
        let end = frame(CONTINUATION, END_HEADERS, stream, &large[..16_000]);
        [frame(HEADERS, END_STREAM, stream, &large[..16_000]), end].concat()
    });
    victim.endures("headers of 32 KiB", vec![], many).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_small_frames_disturb_nobody() {
    let victim = Victim::start().await;
    let open = frame(HEADERS, END_HEADERS, 1, &verify());
    let flood = |frame: Vec<u8>| (0..FLOOD / 10).map(move |_| frame.repeat(10));
    for (name, first, frames) in [
        ("DATA without bytes", open.clone(), frame(DATA, 0, 1, &[])),
        ("PING", vec![], frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", vec![], frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("WINDOW_UPDATE", open, frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
    ] {
        victim.endures(name, first, flood(frames)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_no_answers_keeps_no_memory() {
    let victim = Victim::start().await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        let mut client = victim.connect().await;
        // No window at all: not one byte of an answer can be sent.
        let mut frames = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
        for stream in streams().take(200) {
            frames.extend(frame(HEADERS, END_HEADERS, stream, &call("/countersign.v1.AuthService/GetJwks")));
            frames.extend(frame(DATA, END_STREAM, stream, &[0; 5]));
        }
        client.write_all(&frames).await.expect("sent");
        silent.push(client);
    }
    let others = victim.serves(50).await;
    victim.report("no window", victim.memory(), others, "12,800 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_or_silent_is_closed_in_time() {
    let victim = Victim::start().await;
    let (grpc, http) = (&*victim.process.grpc_addr, &*victim.process.http_addr);
    let halves: [(&str, &str, Vec<u8>); 5] = [
        ("nothing to gRPC", grpc, vec![]),
        ("nothing to HTTP", http, vec![]),
        ("half a preface", grpc, PREFACE[..10].to_vec()),
        ("half a head", grpc, [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, 0, 1, &verify())].concat()),
        ("half a head to HTTP", http, b"GET /livez HTTP/1.1\r\nhos".to_vec()),
    ];
    let mut closing = Vec::new();
    for (name, addr, half) in halves {
        let mut client = TcpStream::connect(addr).await.expect("connected");
        client.write_all(&half).await.expect("sent");
        closing.push(tokio::spawn(async move {
            let begun = Instant::now();
            let mut said = Vec::new();
            timeout(CLOSED, client.read_to_end(&mut said))
                .await
                .unwrap_or_else(|_| panic!("{name}"))
                .unwrap_or_default();
            println!("{name}: closed after {:?}", begun.elapsed());
        }));
    }
    for closed in closing {
        closed.await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_idle_connections_cost_little() {
    let victim = Victim::start().await;
    let limit = rustix::process::Resource::Nofile;
    let mut files = rustix::process::getrlimit(limit);
    files.current = files.maximum;
    rustix::process::setrlimit(limit, files).expect("raised");
    let mut idle = Vec::new();
    for number in 0..5000_u32 {
        let socket = TcpSocket::new_v4().expect("a socket");
        let [_, _, high, low] = number.to_be_bytes();
        socket.bind(([127, 1, high, low.max(1)], 0).into()).expect("bound");
        let mut client =
            socket.connect(victim.process.grpc_addr.parse().expect("an address")).await.expect("connected");
        client.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("sent");
        idle.push(client);
    }
    let others = victim.serves(50).await;
    let grown = victim.memory().saturating_sub(victim.memory);
    println!("5,000 idle connections: memory +{} KiB, others' longest Verify {others:?}", grown / 1024);
    assert!(grown < 5000 * 48 * 1024, "{grown} bytes");
    drop(idle);
}
