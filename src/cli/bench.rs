//! `countersign bench`: what a running server does under load, and what this machine can do at most.

use std::{
    env, fmt::Display, fs::OpenOptions, io::Write as _, net::SocketAddr, os::unix::fs::OpenOptionsExt as _,
    path::PathBuf, time::Duration,
};

use clap::{Args, Subcommand};
use countersign_token::clock::Clock;
use serde::Serialize;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::{
    bench_seed::BenchSeed,
    output::say,
    process::{Shutdown, bind_one, block_on, local_addr},
    user::read_line,
};
use crate::{
    bench::{self, Credentials, Mix, Plan, Preparation, Shape, Target, Yardstick},
    config::{PolicySettings, read_file},
    error::Error,
    grpc, server,
    store::StoreSettings,
};

/// No flag sets it: what is on a command line is no secret.
const PASSWORD: &str = "COUNTERSIGN_BENCH_PASSWORD";
/// The pool through which rows are committed; as large as the server's by default.
const CONNECTIONS: u32 = 16;

#[derive(Args)]
pub(super) struct Bench {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Call a running server, and measure how it answers
    Load(Box<Load>),
    /// Write one message of a call into a file, in the framing of gRPC, for other load generators
    Body(Box<Body>),
    /// Measure what this machine can do at most: empty calls, bare signatures, password hashes and commits
    Reference(Box<Reference>),
    /// Fill a database with users and live sessions
    Seed(Box<BenchSeed>),
    /// Serve the empty call of the reference
    #[command(hide = true)]
    EmptyServer {
        #[arg(long)]
        grpc_addr: SocketAddr,
    },
}

#[derive(Args)]
struct Load {
    #[command(flatten)]
    calls: Calls,

    /// TCP connections
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Calls under way on each connection
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    streams: u16,

    /// How long calls count; those whose messages are used once may end earlier
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,

    /// Seconds of load before that
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,

    /// Calls a second that are due whatever the server does (open loop); latency counts from when a call is due
    #[arg(long)]
    rate: Option<f64>,

    /// Threads that call; 0 for half of the cores
    #[arg(long, default_value_t = 0)]
    threads: usize,

    /// The server's process, for its CPU time; found by itself for a server on loopback
    #[arg(long)]
    server_pid: Option<u32>,

    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// What is called, and with what.
#[derive(Args)]
struct Calls {
    /// The server, as http://host:port
    #[arg(long, default_value = "http://127.0.0.1:50051")]
    target: String,

    /// verify-warm, verify-cold, verify-revoked, verify-expired, verify-garbage, verify-batch, login, refresh, revoke,
    /// revoke-by-id, empty; or several with weights: verify-warm=90,refresh=9,login=1
    #[arg(long, default_value = "verify-warm")]
    call: Mix,

    /// Who logs in, with the password in COUNTERSIGN_BENCH_PASSWORD or on standard input
    #[arg(long)]
    username: Option<String>,

    /// Several users of one password: USERNAME-1 to USERNAME-N, as `bench seed` makes them; 0 for USERNAME itself
    #[arg(long, default_value_t = 0)]
    users: usize,

    /// Read the password from the first line of standard input
    #[arg(long)]
    password_stdin: bool,

    /// The bearer token of administrators, for revoke-by-id
    #[arg(long)]
    admin_token_file: Option<PathBuf>,

    /// Tokens of verify-cold, each used once; sessions of revoke-by-id
    #[arg(long, default_value_t = 100_000)]
    tokens: usize,

    /// Sessions of revoke, each of which costs a login
    #[arg(long, default_value_t = 500)]
    sessions: usize,

    /// Tokens in a call of verify-batch
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,

    /// How long to wait for the tokens of verify-expired to expire
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

#[derive(Args)]
struct Body {
    #[command(flatten)]
    calls: Calls,

    /// A new file, which its owner alone may read: the message may hold a token or a password
    #[arg(long)]
    output: PathBuf,
}

#[derive(Args)]
struct Reference {
    /// Where a table of its own is made for the commits; without it they are left out
    #[arg(long, env = "COUNTERSIGN_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    #[command(flatten)]
    policy: PolicySettings,

    /// How long each figure is measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,

    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Error> {
        match self.action {
            Action::Load(load) => load.run(),
            Action::Body(body) => body.run(),
            Action::Reference(reference) => reference.run(),
            Action::Seed(seed) => block_on(seed.run()),
            Action::EmptyServer { grpc_addr } => block_on(serve_empty(grpc_addr)),
        }
    }
}

impl Load {
    fn run(&self) -> Result<(), Error> {
        let shape = self.shape()?;
        let (target, plan) = self.calls.prepare(shape.callers())?;
        let server = self.server_pid.or_else(|| bench::listener_of(target.addr));
        let report = bench::run(&target, plan, &shape, server)?;
        show(&report, self.json)?;
        report.check()
    }

    fn shape(&self) -> Result<Shape, Error> {
        if self.rate.is_some_and(|rate| !(0.01..=10_000_000.0).contains(&rate)) {
            return Err(Error::invalid("rate", "0.01 to 10000000"));
        }
        Ok(Shape {
            connections: usize::from(self.connections),
            streams: usize::from(self.streams),
            threads: if self.threads == 0 { half_of_the_cores() } else { self.threads },
            warm_up: seconds("warm-up", self.warm_up)?,
            measured: seconds("seconds", self.seconds)?,
            rate: self.rate,
        })
    }
}

impl Reference {
    fn run(&self) -> Result<(), Error> {
        self.policy.check()?;
        let database = self.database_url.clone().map(|url| StoreSettings {
            url,
            connections: CONNECTIONS,
            deadline: Duration::from_secs(30),
        });
        let yardstick = Yardstick {
            each: seconds("seconds", self.seconds)?,
            cost: self.policy.login.hash_cost(),
            hash_threads: server::hash_threads(self.policy.hash_threads),
            callers: half_of_the_cores(),
            database,
        };
        show(&yardstick.measure()?, self.json)
    }
}

async fn serve_empty(addr: SocketAddr) -> Result<(), Error> {
    let listener = bind_one("grpc-addr", addr).await?;
    let shutdown = Shutdown::listen()?;
    say(local_addr(&listener)?)?;
    grpc::serve_empty(listener, shutdown.requested()).await
}

/// As a table, or as JSON.
fn show(figures: &(impl Serialize + Display), json: bool) -> Result<(), Error> {
    if json { say(serde_json::to_string_pretty(figures).map_err(Error::internal)?) } else { say(figures) }
}

fn seconds(setting: &'static str, seconds: f64) -> Result<Duration, Error> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= Duration::from_secs(86_400));
    time.ok_or_else(|| Error::invalid(setting, "up to a day"))
}

/// The other half is the server's.
fn half_of_the_cores() -> usize {
    (server::hash_threads(0) / 2).max(1)
}

impl Body {
    fn run(&self) -> Result<(), Error> {
        let (_, plan) = self.calls.prepare(1)?;
        let message = plan.first().ok_or_else(|| Error::invalid("tokens", "there is no message"))?;
        let mut options = OpenOptions::new();
        let written = options.write(true).create_new(true).mode(0o600).open(&self.output);
        written
            .and_then(|mut file| file.write_all(&message))
            .map_err(|error| Error::invalid("output", format!("cannot be written: {error}")))
    }
}

impl Calls {
    /// Before the load, in a runtime that ends then.
    fn prepare(&self, callers: usize) -> Result<(Target, Plan), Error> {
        let runtime = Runtime::new().map_err(Error::internal)?;
        runtime.block_on(async {
            let target = Target::parse(&self.target).await?;
            let bearer = self.admin_token_file.as_ref().map(|path| read_file("admin-token-file", path)).transpose()?;
            let preparation = Preparation {
                target: target.clone(),
                credentials: self.credentials().await?,
                bearer: bearer.map(|token| Zeroizing::new(token.trim().to_owned())),
                tokens: self.tokens,
                sessions: self.sessions,
                batch: usize::from(self.batch),
                wait: self.wait,
                clock: Clock::system(),
            };
            Ok((target, preparation.plan(&self.call, callers).await?))
        })
    }

    async fn credentials(&self) -> Result<Option<Credentials>, Error> {
        let Some(username) = self.username.clone() else {
            return Ok(None);
        };
        let password = match env::var(PASSWORD) {
            _ if self.password_stdin => read_line().await?,
            Ok(password) => Zeroizing::new(password),
            Err(_) => return Err(Error::invalid("username", format!("--password-stdin, or {PASSWORD}"))),
        };
        Ok(Some(Credentials { username, users: self.users, password }))
    }
}
