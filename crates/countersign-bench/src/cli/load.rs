//! `countersign-bench load`: calls a running server, and says how it answers.

use clap::Args;
use countersign::error::Error;

use super::{
    calls::Calls,
    figures::{half_of_the_cores, seconds, show},
};
use crate::{cpu, load, shape::Shape};

#[derive(Args)]
pub(super) struct Load {
    #[command(flatten)]
    calls: Calls,

    /// TCP connections
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,

    /// Calls under way on each connection
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    streams: u16,

    /// Time for which calls count; those whose messages are used once may end earlier
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

impl Load {
    pub(super) fn run(&self) -> Result<(), Error> {
        let shape = self.shape()?;
        let (target, plan) = self.calls.prepare(shape.callers())?;
        let server = self.server_pid.or_else(|| cpu::listener_of(target.addr));
        let report = load::run(&target, plan, &shape, server)?;
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
