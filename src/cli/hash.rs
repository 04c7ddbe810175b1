//! `countersign hash`: what a password hash costs on this machine, by the threads that the server hashes with. Needs no
//! database. What to propose is `domain/hash_cost.rs`.

use std::{
    fs,
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use tokio::{task::JoinSet, time::Instant};

use super::output::say;
use crate::{
    config::{HASH_THREADS, Range, checked, hash_threads},
    crypto::password::PasswordHasher,
    domain::{
        hash_cost::{DEFAULT_COST, Sample, cost_for, least_within},
        password::{HashCost, Password},
        policy::HashPolicy,
    },
    error::Error,
};

const TARGET: Range<Duration> = Range::time("target", Duration::from_millis(1), Duration::from_secs(10));
const THREADS: Range<usize> = HASH_THREADS.called("threads");
/// Times that a proposal is measured, and corrected by the measured time.
const CORRECTIONS: usize = 4;
/// Hashes of each thread that are timed, one by one.
const HASHES: usize = 7;

#[derive(Args)]
pub(super) struct Hash {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Measure argon2id on this machine, and propose settings
    Calibrate {
        #[arg(
            long,
            default_value = "250ms",
            value_parser = humantime::parse_duration,
            help = TARGET.help("Time that one hash is to take while all threads hash")
        )]
        target: Duration,
        #[arg(
            long,
            env = "COUNTERSIGN_HASH_THREADS",
            default_value_t = 0,
            help = THREADS.help("Threads that hash at once; 0 for one a core, as the server has")
        )]
        threads: usize,
    },
}

impl Hash {
    pub(super) async fn run(self) -> Result<(), Error> {
        let Action::Calibrate { target, threads } = self.action;
        let (target, threads) =
            checked(|violations| (TARGET.check(target, violations), THREADS.check(threads, violations)))?;
        let threads = hash_threads(threads);
        let most_memory = most_memory(threads);
        let sample = calibrate(target, threads, most_memory).await?;
        warn_of_noise(&sample);
        report(&sample, target, threads, most_memory)
    }
}

/// Largest memory of a hash in KiB, so that all threads together leave half of what is free.
fn most_memory(threads: usize) -> u32 {
    let free = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let share = |free: u64| free / 2 / u64::try_from(threads).unwrap_or(u64::MAX);
    free.map(share).and_then(|share| u32::try_from(share).ok()).unwrap_or(u32::MAX)
}

/// MemAvailable of /proc/meminfo (proc_meminfo(5)), in KiB.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The proposal, and what it took.
async fn calibrate(target: Duration, threads: usize, most_memory: u32) -> Result<Sample, Error> {
    let too_little = || {
        let free = format!("half of the free memory is {} MiB", threads as u64 * u64::from(most_memory) / 1024);
        Error::invalid("threads", format!("{threads} at once take more memory than there is: {free}"))
    };
    let least = least_within(most_memory, DEFAULT_COST.lanes).ok_or_else(too_little)?;
    let first = if DEFAULT_COST.memory <= most_memory { DEFAULT_COST } else { least };
    let mut sample = measure(first, threads).await?;
    for _ in 0..CORRECTIONS {
        let cost = cost_for(target, sample, most_memory);
        if cost == sample.cost {
            break;
        }
        sample = measure(cost, threads).await?;
    }
    Ok(sample)
}

/// Measures one hash while all threads hash.
async fn measure(cost: HashCost, threads: usize) -> Result<Sample, Error> {
    let hasher = Arc::new(PasswordHasher::start(HashPolicy { threads, queue: threads, cost })?);
    // The first hash of a thread touches the memory that it keeps.
    hash(&hasher, threads, 1).await?;
    let times = hash(&hasher, threads, HASHES).await?;
    Sample::of(cost, times).ok_or_else(|| Error::internal("no hash was timed"))
}

/// Lets each of `callers` hash so many times, one after the other; what each took.
async fn hash(hasher: &Arc<PasswordHasher>, callers: usize, times: usize) -> Result<Vec<Duration>, Error> {
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let hasher = Arc::clone(hasher);
        tasks.spawn(async move {
            let mut took = Vec::with_capacity(times);
            for _ in 0..times {
                let begun = Instant::now();
                hasher.hash(Password::parse("password", "a password to measure")?, None).await?;
                took.push(begun.elapsed());
            }
            Ok::<_, Error>(took)
        });
    }
    let mut took = Vec::with_capacity(callers * times);
    while let Some(done) = tasks.join_next().await {
        took.extend(done.map_err(Error::internal)??);
    }
    Ok(took)
}

fn warn_of_noise(sample: &Sample) {
    if sample.scatters() {
        let [low, high] = [sample.middle.0, sample.middle.1].map(|time| time.as_secs_f64() * 1e3);
        let advice = "something else uses this machine, measure again when it is idle";
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(io::stderr(), "countersign: half of the hashes took {low:.1} to {high:.1} ms: {advice}"));
    }
}

fn report(sample: &Sample, target: Duration, threads: usize, most_memory: u32) -> Result<(), Error> {
    let HashCost { memory, iterations, lanes } = sample.cost;
    let seconds = sample.time.as_secs_f64();
    let in_all = threads as u64 * u64::from(memory) / 1024;
    say(format_args!("argon2id, m={memory} KiB, t={iterations}, p={lanes}, threads that hash at once: {threads}"))?;
    say(format_args!("one hash:         {:.1} ms (target: {:.1} ms)", seconds * 1e3, target.as_secs_f64() * 1e3))?;
    say(format_args!("hashes a second:  {:.1}", threads as f64 / seconds))?;
    say(format_args!("memory in all:    {in_all} MiB"))?;
    if cost_for(target, *sample, most_memory) == sample.cost && sample.time > target.mul_f64(1.1) {
        say("OWASP asks for at least that much, so the target is not met.")?;
    }
    say("")?;
    say(format_args!("COUNTERSIGN_HASH_MEMORY={memory}"))?;
    say(format_args!("COUNTERSIGN_HASH_ITERATIONS={iterations}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_memory_is_read_from_meminfo_or_not_known() {
        let text =
            "MemTotal:       24576000 kB\nMemFree:          123456 kB\nMemAvailable:   16384000 kB\nBuffers: 1 kB\n";
        assert_eq!(available(text), Some(16_384_000));
        for bad in ["", "MemAvailable:", "MemAvailable: many kB", "MemFree: 1 kB"] {
            assert_eq!(available(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn r50_threads_for_which_there_is_no_memory_are_refused_before_anything_is_hashed() {
        let refused = calibrate(Duration::from_millis(1), 1_000_000, 7_167).await;
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
    }
}
