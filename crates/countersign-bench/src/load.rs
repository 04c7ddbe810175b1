//! A run: threads of callers, each with a runtime of its own on one thread, which writes many requests at once. So a
//! generator costs less than the server that it measures.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    caller::Caller,
    cpu,
    pace::Pace,
    report::{Measured, Report},
    shape::Shape,
    supply::Plan,
    tally::Tally,
    wire::{Stream, Target},
};
use countersign::error::Error;

/// Time until all threads have been told to begin.
const LEAD: Duration = Duration::from_millis(10);
/// Time that answers may take after the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the calls, in the time that the shape says; `server` is the process whose CPU time is read.
///
/// # Errors
/// [`Error::InvalidArgument`] for a target that cannot be reached or does not answer.
pub(crate) fn run(target: &Target, plan: Plan, shape: &Shape, server: Option<u32>) -> Result<Report, Error> {
    let plan = Arc::new(plan);
    let (ready, connected) = channel();
    let mut threads = Vec::new();
    for number in 0..shape.threads() {
        let (begin, begun) = channel();
        let work = Work { target: target.clone(), plan: Arc::clone(&plan), shape: shape.clone(), number };
        let ready = ready.clone();
        let thread = thread::Builder::new().name("load".to_owned());
        threads.push((begin, thread.spawn(move || work.run(&ready, &begun)).map_err(Error::internal)?));
    }
    drop(ready);
    // Those that have connected end when nobody tells them to begin.
    let all = threads.iter().all(|_| connected.recv().unwrap_or(false));
    let begin = Instant::now() + LEAD;
    let pace = Arc::new(Pace::new(begin, shape.warm_up, shape.measured, shape.rate));
    let (begins, threads): (Vec<_>, Vec<_>) = threads.into_iter().unzip();
    for begin in begins.into_iter().filter(|_| all) {
        drop(begin.send(Arc::clone(&pace)));
    }
    observe(&pace, threads, &plan, server)?.report(target, shape)
}

/// Waits for the end, and reads the CPU times at the begin and the end of what counts.
fn observe(
    pace: &Arc<Pace>,
    threads: Vec<JoinHandle<Result<Tally, Error>>>,
    plan: &Plan,
    server: Option<u32>,
) -> Result<Measured, Error> {
    let server = server.map(|pid| pid.to_string());
    let times = || [server.as_deref().and_then(cpu::used), cpu::used("self")];
    let pacing = Arc::clone(pace);
    let pacer = thread::spawn(move || pacing.run());
    // A thread that could not connect ends at once.
    while Instant::now() < pace.measured_from && !threads.iter().all(JoinHandle::is_finished) {
        let left = pace.measured_from.saturating_duration_since(Instant::now());
        thread::sleep(left.min(Duration::from_millis(10)));
    }
    let before = times();
    let mut tally = Tally::new(plan.mix.calls())?;
    for thread in threads {
        tally.add(thread.join().map_err(|_| Error::internal("a thread of callers failed"))??)?;
    }
    let ([server_before, before], [server_after, after]) = (before, times());
    let used = |before: Option<Duration>, after: Option<Duration>| after?.checked_sub(before?);
    let (server, generator) = (used(server_before, server_after), used(before, after));
    pacer.join().map_err(|_| Error::internal("the pace failed"))?;
    let elapsed = tally.last.map_or(Duration::ZERO, |last| last - pace.measured_from);
    Ok(Measured { tally, elapsed, unsent: pace.unsent(), server, generator })
}

/// The work of a thread.
struct Work {
    target: Target,
    plan: Arc<Plan>,
    shape: Shape,
    number: usize,
}

impl Work {
    fn run(self, ready: &Sender<bool>, begin: &Receiver<Arc<Pace>>) -> Result<Tally, Error> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
        runtime.block_on(async {
            let streams = self.connect().await;
            // Nobody waits when another thread has failed.
            let _ = ready.send(streams.is_ok());
            let (streams, tally) = (streams?, Tally::new(self.plan.mix.calls())?);
            match begin.recv() {
                Ok(pace) => self.call(streams, pace, tally).await,
                Err(_) => Ok(tally),
            }
        })
    }

    /// The streams of this thread's share of the connections, with their numbers.
    async fn connect(&self) -> Result<Vec<(usize, Stream)>, Error> {
        let mut streams = Vec::new();
        for connection in (self.number..self.shape.connections).step_by(self.shape.threads()) {
            let stream = Stream::connect(&self.target).await?;
            let first = connection * self.shape.streams;
            streams.extend((first..first + self.shape.streams).map(|number| (number, stream.clone())));
        }
        Ok(streams)
    }

    async fn call(&self, streams: Vec<(usize, Stream)>, pace: Arc<Pace>, tally: Tally) -> Result<Tally, Error> {
        let tally = Arc::new(Mutex::new(tally));
        let mut callers = JoinSet::new();
        sleep_until(pace.begin).await;
        for (number, stream) in streams {
            let (plan, pace, tally) = (Arc::clone(&self.plan), Arc::clone(&pace), Arc::clone(&tally));
            callers.spawn(Caller { stream, plan, pace, tally }.run(number));
        }
        let ended = async { while callers.join_next().await.is_some() {} };
        if timeout_at(pace.until + PATIENCE, ended).await.is_err() {
            let (calls, seconds) = (callers.len(), PATIENCE.as_secs());
            return Err(Error::invalid("target", format!("{calls} calls had no answer {seconds} s after the end")));
        }
        let tally = Arc::into_inner(tally).ok_or_else(|| Error::internal("a caller has not ended"))?;
        Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
