//! `countersign hash`: what a password hash costs on this machine, by the threads that the server hashes with. Needs no
//! database. What to propose is `domain/hash_cost.rs`.

use std::{sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use tokio::{task::JoinSet, time::Instant};

use super::say;
use crate::{
    crypto::password::{HashPolicy, PasswordHasher},
    domain::{
        hash_cost::{Sample, cost_for},
        password::{HashCost, Password},
    },
    error::Error,
    server,
};

/// What is measured first: the default.
const FIRST: HashCost = HashCost { memory: 19_456, iterations: 2, lanes: 1 };
/// How often a proposal is measured, and corrected by what it took.
const CORRECTIONS: usize = 4;
/// How many hashes of each thread are timed.
const HASHES: u32 = 5;

#[derive(Args)]
pub(super) struct Hash {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Measure argon2id on this machine, and propose settings
    Calibrate {
        /// How long one hash is to take while all threads hash; 1ms to 10s
        #[arg(long, default_value = "250ms", value_parser = humantime::parse_duration)]
        target: Duration,
        /// Threads that hash at once; 0 for one a core, as the server has
        #[arg(long, env = "COUNTERSIGN_HASH_THREADS", default_value_t = 0)]
        threads: usize,
    },
}

impl Hash {
    pub(super) async fn run(self) -> Result<(), Error> {
        let Action::Calibrate { target, threads } = self.action;
        if !(Duration::from_millis(1)..=Duration::from_secs(10)).contains(&target) {
            return Err(Error::invalid("target", "1ms to 10s"));
        }
        if threads > 256 {
            return Err(Error::invalid("threads", "0 to 256"));
        }
        let threads = server::hash_threads(threads);
        report(&calibrate(target, threads).await?, target, threads)
    }
}

/// The proposal, and what it took.
async fn calibrate(target: Duration, threads: usize) -> Result<Sample, Error> {
    let mut sample = measure(FIRST, threads).await?;
    for _ in 0..CORRECTIONS {
        let cost = cost_for(target, sample);
        if cost == sample.cost {
            break;
        }
        sample = measure(cost, threads).await?;
    }
    Ok(sample)
}

/// What one hash takes while all threads hash.
async fn measure(cost: HashCost, threads: usize) -> Result<Sample, Error> {
    let hasher = Arc::new(PasswordHasher::start(HashPolicy { threads, queue: threads, cost })?);
    // The first hash of a thread touches the memory that it keeps.
    hash(&hasher, threads, 1).await?;
    let begun = Instant::now();
    hash(&hasher, threads, HASHES).await?;
    Ok(Sample { cost, time: begun.elapsed() / HASHES })
}

/// Lets each of `callers` hash so many times, one after the other.
async fn hash(hasher: &Arc<PasswordHasher>, callers: usize, times: u32) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let hasher = Arc::clone(hasher);
        tasks.spawn(async move {
            for _ in 0..times {
                hasher.hash(Password::parse("password", "a password to measure")?, None).await?;
            }
            Ok::<_, Error>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(Error::internal)??;
    }
    Ok(())
}

fn report(sample: &Sample, target: Duration, threads: usize) -> Result<(), Error> {
    let HashCost { memory, iterations, lanes } = sample.cost;
    let seconds = sample.time.as_secs_f64();
    let in_all = threads as u64 * u64::from(memory) / 1024;
    say(format_args!("argon2id, m={memory} KiB, t={iterations}, p={lanes}, threads that hash at once: {threads}"))?;
    say(format_args!("one hash:         {:.1} ms (target: {:.1} ms)", seconds * 1e3, target.as_secs_f64() * 1e3))?;
    say(format_args!("hashes a second:  {:.1}", threads as f64 / seconds))?;
    say(format_args!("memory in all:    {in_all} MiB"))?;
    if cost_for(target, *sample) == sample.cost && sample.time > target.mul_f64(1.1) {
        say("OWASP asks for at least that much, so the target is not met.")?;
    }
    say("")?;
    say(format_args!("COUNTERSIGN_HASH_MEMORY={memory}"))?;
    say(format_args!("COUNTERSIGN_HASH_ITERATIONS={iterations}"))
}
