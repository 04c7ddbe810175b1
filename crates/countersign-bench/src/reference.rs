//! The limits of this machine, measured in one run: an empty call, bare signatures, bare password hashes, bare commits.
//! What a server does under load is put in relation to these.

use std::{
    env, fmt,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use countersign_token::clock::Clock;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::{
    call::{Call, Mix},
    commit_bench::{CommitBench, MOST_TASKS},
    cpu, load, microbench,
    prepare::Preparation,
    report::Report,
    shape::Shape,
    wire::Target,
};
use countersign::{
    domain::password::HashCost,
    error::Error,
    store::{Store, StoreSettings},
};

/// Connections and streams on each: one caller, some, many.
const CONCURRENCIES: [(usize, usize); 4] = [(1, 1), (8, 1), (8, 8), (8, 32)];
/// Numbers of tasks that share the pool.
const TASKS: [usize; 5] = [1, 8, 16, 64, MOST_TASKS];

/// The measurements of a run.
#[derive(Debug)]
pub(crate) struct ReferenceBench {
    /// Time for which each figure is measured.
    pub each: Duration,
    /// The cost of a password hash.
    pub cost: HashCost,
    /// Number of threads that hash.
    pub hash_threads: usize,
    /// Number of threads that call the empty server.
    pub callers: usize,
    /// Database in which rows are committed; None leaves that out.
    pub database: Option<StoreSettings>,
}

/// The figures.
#[derive(Debug, Serialize)]
pub(crate) struct Reference {
    empty_call: Vec<Report>,
    eddsa_sign_us: f64,
    eddsa_verify_us: f64,
    argon2: Hashing,
    commits: Vec<Committing>,
}

#[derive(Debug, Serialize)]
struct Hashing {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
    threads: usize,
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct Committing {
    tasks: usize,
    per_second: f64,
    /// CPU time of this process: the driver's share.
    driver_cpu_us: Option<f64>,
}

/// A server of the empty call in a process of its own; it ends with this value.
struct EmptyServer(Child);

impl Drop for EmptyServer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl ReferenceBench {
    /// Measures all of it, one after the other.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`]; [`Error::Internal`] when the empty server does not start.
    pub(crate) fn measure(self) -> Result<Reference, Error> {
        let signatures = microbench::signatures(self.each)?;
        let HashCost { memory, iterations, lanes } = self.cost;
        let per_second = microbench::hashes_a_second(self.cost, self.hash_threads, self.each)?;
        Ok(Reference {
            empty_call: self.empty_calls()?,
            eddsa_sign_us: signatures.sign.as_secs_f64() * 1e6,
            eddsa_verify_us: signatures.verify.as_secs_f64() * 1e6,
            argon2: Hashing { memory_kib: memory, iterations, lanes, threads: self.hash_threads, per_second },
            commits: Runtime::new().map_err(Error::internal)?.block_on(self.commits())?,
        })
    }

    fn empty_calls(&self) -> Result<Vec<Report>, Error> {
        let (server, target) = empty_server()?;
        let reports = CONCURRENCIES.map(|(connections, streams)| {
            let (threads, warm_up) = (self.callers, self.each / 5);
            let shape = Shape { connections, streams, threads, warm_up, measured: self.each, rate: None };
            let preparation = Preparation::bare(target.clone(), Clock::system());
            let runtime = Runtime::new().map_err(Error::internal)?;
            let plan = runtime.block_on(preparation.plan(&Mix::of(Call::Empty), shape.callers()))?;
            let report = load::run(&target, plan, &shape, Some(server.0.id()))?;
            report.check()?;
            Ok(report)
        });
        reports.into_iter().collect()
    }

    async fn commits(self) -> Result<Vec<Committing>, Error> {
        let Some(settings) = self.database else {
            return Ok(Vec::new());
        };
        let commits = CommitBench::create(Store::new(&settings)?).await?;
        let mut measured = Vec::new();
        for tasks in TASKS {
            let before = cpu::used("self");
            let per_second = commits.a_second(tasks, self.each).await?;
            let used = before.and_then(|before| cpu::used("self")?.checked_sub(before));
            let count = per_second * self.each.as_secs_f64();
            let driver_cpu_us = used.map(|used| used.as_secs_f64() * 1e6 / count);
            measured.push(Committing { tasks, per_second, driver_cpu_us });
        }
        commits.remove().await?;
        Ok(measured)
    }
}

/// Starts this program again, as `empty-server`, which says where it listens.
fn empty_server() -> Result<(EmptyServer, Target), Error> {
    let failed = |error: std::io::Error| Error::internal(format!("the empty server: {error}"));
    let mut command = Command::new(env::current_exe().map_err(failed)?);
    command.args(["empty-server", "--grpc-addr", "127.0.0.1:0"]);
    let mut server = EmptyServer(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?);
    let mut line = String::new();
    if let Some(output) = server.0.stdout.take() {
        BufReader::new(output).read_line(&mut line).map_err(failed)?;
    }
    let addr = line.trim().parse().map_err(|_| Error::internal("the empty server does not say where it listens"))?;
    Ok((server, Target::local(addr)))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.empty_call {
            writeln!(f, "Empty call at {report}\n")?;
        }
        writeln!(f, "EdDSA on one thread: sign {:.1} us, verify {:.1} us", self.eddsa_sign_us, self.eddsa_verify_us)?;
        let Hashing { memory_kib, iterations, lanes, threads, per_second } = self.argon2;
        let cost = format_args!("m={memory_kib} KiB, t={iterations}, p={lanes}");
        write!(f, "argon2id, {cost}, on {threads} threads: {per_second:.1} hashes/s")?;
        for Committing { tasks, per_second, driver_cpu_us } in &self.commits {
            write!(f, "\nUPDATE of one row and commit, {tasks} tasks: {per_second:.0}/s")?;
            if let Some(micros) = driver_cpu_us {
                write!(f, ", {micros:.1} us of the driver's CPU each")?;
            }
        }
        Ok(())
    }
}
