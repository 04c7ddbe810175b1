//! The command line: one file per subcommand. What fails is said as `countersign` says it.

mod body;
mod calls;
mod figures;
mod load;
mod reference;
mod seed;

use std::{net::SocketAddr, process::ExitCode};

use clap::{Parser, Subcommand};
use countersign::{
    cli::{block_on, exit, say, stop_signals},
    config::{LogSettings, parse},
    error::Error,
    net::Listener,
    telemetry,
};

use crate::empty;

/// Measures a running Countersign under load, and what this machine can do at most.
#[derive(Parser)]
#[command(name = "countersign-bench", version)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Call a running server, and measure how it answers
    Load(Box<load::Load>),
    /// Write one message of a call into a file, in the framing of gRPC, for other load generators
    Body(Box<body::Body>),
    /// Measure what this machine can do at most: empty calls, bare signatures, password hashes and commits
    Reference(Box<reference::Reference>),
    /// Fill a database with users and live sessions
    Seed(Box<seed::Seed>),
    /// Serve the empty call of the reference
    #[command(hide = true)]
    EmptyServer {
        #[arg(long)]
        grpc_addr: SocketAddr,
    },
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let cli: Cli = parse(|command| command);
    let result = telemetry::start(&cli.log).and_then(|()| match cli.command {
        Command::Load(command) => command.run(),
        Command::Body(command) => command.run(),
        Command::Reference(command) => command.run(),
        Command::Seed(command) => block_on(command.run()),
        Command::EmptyServer { grpc_addr } => block_on(serve_empty(grpc_addr)),
    });
    exit("countersign-bench", result)
}

async fn serve_empty(addr: SocketAddr) -> Result<(), Error> {
    let listener = Listener::bind("grpc-addr", &addr.into()).await?;
    let mut stop = stop_signals()?;
    say(&listener)?;
    empty::serve(listener, async move { stop.requested().await }).await;
    Ok(())
}
