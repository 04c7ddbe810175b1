//! The command line: one file per subcommand. What fails is said in one line on standard error, with exit code 1.

mod audit;
mod dev;
mod hash;
mod healthcheck;
mod keys;
mod migrate;
mod serve;
mod sessions;
mod user;
mod user_export;
mod user_file;
mod user_import;

use std::{
    fmt::Display,
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

pub use self::user::read_line;
use crate::{
    config::{DatabaseSettings, LogSettings, MasterKeySettings},
    crypto::seal::MasterKeys,
    error::Error,
    server::Listeners,
    store::{Store, StoreSettings},
    telemetry,
};

/// Authentication for internal microservices: sessions that end everywhere, verified in memory, over gRPC.
#[derive(Parser)]
#[command(name = "countersign", version)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine with no set-up: a private Postgres, keys, a demo user
    Dev(Box<dev::Dev>),
    /// Run the service against a Postgres of yours
    Serve(Box<serve::Serve>),
    /// Bring the database's schema up to date
    Migrate(migrate::Migrate),
    /// Administer users
    User(Box<user::User>),
    /// End all sessions, or decide about them after a restore
    Sessions(Box<sessions::Sessions>),
    /// Show, rotate and kill the keys that sign tokens, the peppers of passwords, and the keys that seal both
    Keys(Box<keys::Keys>),
    /// Show who logged in, what was refused, ended and changed, and by whom
    Audit(audit::Audit),
    /// Find out what a password hash may cost on this machine
    Hash(hash::Hash),
    /// Ask a running server whether it serves: exit code 0 or 1
    Healthcheck(healthcheck::Healthcheck),
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = telemetry::start(&cli.log).and_then(|()| match cli.command {
        Command::Dev(command) => command.run(),
        Command::Serve(command) => block_on(command.run()),
        Command::Migrate(command) => block_on(command.run()),
        Command::User(command) => block_on(command.run()),
        Command::Sessions(command) => block_on(command.run()),
        Command::Keys(command) => block_on(command.run()),
        Command::Audit(command) => block_on(command.run()),
        Command::Hash(command) => block_on(command.run()),
        Command::Healthcheck(command) => block_on(command.run()),
    });
    exit("countersign", result)
}

/// The exit code of a program of ours, which says on standard error why it failed.
pub fn exit(program: &str, result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            drop(writeln!(io::stderr(), "{program}: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Carries out async work on a runtime of its own, set up as the server's.
///
/// # Errors
/// Those of the work; [`Error::Internal`] when there can be no runtime.
pub fn block_on(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let mut runtime = runtime::Builder::new_multi_thread();
    // With it, each reply is a system call of its own. It can be turned off where .cargo/config.toml says so.
    #[cfg(tokio_unstable)]
    runtime.disable_lifo_slot();
    runtime.enable_all().build().map_err(Error::internal)?.block_on(work)
}

/// The database that the settings name; connects at the first use.
///
/// # Errors
/// [`Error::InvalidArgument`] for settings that are out of range.
pub fn store(settings: &DatabaseSettings) -> Result<Store, Error> {
    settings.check()?;
    Store::new(&StoreSettings {
        url: settings.database_url.clone(),
        connections: settings.database_connections,
        deadline: settings.database_deadline,
    })
}

fn master_keys(settings: &MasterKeySettings) -> Result<MasterKeys, Error> {
    let (setting, list) = settings.read()?;
    MasterKeys::parse(setting, &list)
}

/// Passes if the database is of a version that is served, and all migrations have been made.
///
/// # Errors
/// [`Error::InvalidArgument`], [`Error::DatabaseUnavailable`].
pub async fn require_schema(store: &Store) -> Result<(), Error> {
    store.check_version().await?;
    match store.missing_migrations().await? {
        0 => Ok(()),
        missing => {
            let advice = format!("it lacks {missing} migrations: run `countersign migrate`");
            Err(Error::invalid("database-url", advice))
        }
    }
}

async fn bind(grpc: SocketAddr, http: SocketAddr) -> Result<Listeners, Error> {
    Ok(Listeners { grpc: bind_one("grpc-addr", grpc).await?, http: bind_one("http-addr", http).await? })
}

/// Listens on an address that a setting names.
///
/// # Errors
/// [`Error::InvalidArgument`] for one that cannot be had.
pub async fn bind_one(setting: &'static str, addr: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(addr).await;
    bound.map_err(|error| Error::invalid(setting, format!("{addr}: {error}")))
}

fn local_addr(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(Error::internal)
}

/// Resolves at the first Ctrl-C or SIGTERM.
#[derive(Debug)]
pub struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
}

impl Shutdown {
    /// Begins to listen for both.
    ///
    /// # Errors
    /// [`Error::Internal`] when the system does not let us.
    pub fn listen() -> Result<Self, Error> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(Error::internal)?,
            terminate: signal(SignalKind::terminate()).map_err(Error::internal)?,
        })
    }

    /// Waits for one of them.
    pub async fn requested(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// A moment for people and scripts: the second after it, by RFC 3339, in UTC.
fn moment(at: OffsetDateTime) -> String {
    let second = at.replace_nanosecond(0).unwrap_or(at) + Duration::from_secs(u64::from(at.nanosecond() > 0));
    second.format(&Rfc3339).unwrap_or_default()
}

/// Writes a line of output.
///
/// # Errors
/// [`Error::Internal`] when standard output is closed.
pub fn say(line: impl Display) -> Result<(), Error> {
    writeln!(io::stdout(), "{line}").map_err(Error::internal)
}
