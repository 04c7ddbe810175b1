//! The server as a process: where it listens, whom it trusts, and how it stops.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{range::Range, violations::Violations};
use crate::domain::{connection::ConnectionPolicy, listen::ListenAddr, policy::ServerPolicy};

const LAME_DUCK: Range<Duration> = Range::time("lame-duck", Duration::ZERO, Duration::from_secs(600));
const DRAIN_TIMEOUT: Range<Duration> = Range::time("drain-timeout", Duration::ZERO, Duration::from_secs(600));
const DATABASE_WAIT: Range<Duration> = Range::time("database-wait", Duration::ZERO, Duration::from_secs(86_400));
const MAX_CONNECTIONS: Range<usize> = Range::number("max-connections", 1, 1_000_000);
const MAX_CONNECTIONS_PER_ADDRESS: Range<usize> = Range::number("max-connections-per-address", 1, 1_000_000);
const MAX_CONNECTION_AGE: Range<Duration> =
    Range::time("max-connection-age", Duration::from_secs(10), Duration::from_secs(7 * 86_400));

/// Settings of where `serve` listens, and whom it trusts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ListenSettings {
    /// Address of gRPC: HOST:PORT, :PORT for all addresses, or unix:/PATH; port 0 takes a free one
    #[arg(long, env = "COUNTERSIGN_GRPC_ADDR", default_value = ":50051")]
    pub grpc_addr: ListenAddr,

    /// Address of HTTP (JWKS, probes, metrics), in the same forms
    #[arg(long, env = "COUNTERSIGN_HTTP_ADDR", default_value = ":8080")]
    pub http_addr: ListenAddr,

    /// Address of a port of gRPC for administrators alone; UserService and ListSessions are not on the other one then
    #[arg(long, env = "COUNTERSIGN_ADMIN_ADDR")]
    pub admin_addr: Option<ListenAddr>,

    /// Address of a port of /forward-auth alone, which is not on that of HTTP then
    #[arg(long, env = "COUNTERSIGN_FORWARD_AUTH_ADDR")]
    pub forward_auth_addr: Option<ListenAddr>,

    /// Address of a port of /metrics alone, which is not on that of HTTP then
    #[arg(long, env = "COUNTERSIGN_METRICS_ADDR")]
    pub metrics_addr: Option<ListenAddr>,

    /// Serves /status where /metrics is: a page for people with rates, replicas, keys and the newest events, which name users
    #[arg(long, env = "COUNTERSIGN_STATUS_PAGE")]
    pub status_page: bool,

    /// Speaks gRPC-Web too on the port of gRPC, over HTTP/1.1 and HTTP/2; CORS is for a proxy before it
    #[arg(long, env = "COUNTERSIGN_GRPC_WEB")]
    pub grpc_web: bool,

    /// File with the bearer token of administrators; without it nobody administers over gRPC
    #[arg(long, env = "COUNTERSIGN_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,

    #[arg(
        long,
        env = "COUNTERSIGN_DATABASE_WAIT",
        default_value = "5m",
        value_parser = humantime::parse_duration,
        help = DATABASE_WAIT.help("Longest time that a start waits for the database; meanwhile /livez is 200 and /readyz 503")
    )]
    pub database_wait: Duration,
}

impl ListenSettings {
    /// Checks the ranges.
    pub fn check(&self, violations: &mut Violations) {
        DATABASE_WAIT.check(self.database_wait, violations);
    }
}

/// Settings of a server as a process; the same in `serve` and `dev`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerSettings {
    #[arg(
        long,
        env = "COUNTERSIGN_LAME_DUCK",
        value_parser = humantime::parse_duration,
        help = LAME_DUCK.help("Time for which a stop goes on serving while it says that it is not ready; 5s in serve, 0s in dev")
    )]
    pub lame_duck: Option<Duration>,

    #[arg(
        long,
        env = "COUNTERSIGN_DRAIN_TIMEOUT",
        default_value = "10s",
        value_parser = humantime::parse_duration,
        help = DRAIN_TIMEOUT.help("Longest time that a stop waits for calls under way")
    )]
    pub drain_timeout: Duration,

    #[arg(
        long,
        env = "COUNTERSIGN_MAX_CONNECTIONS",
        default_value_t = 8192,
        help = MAX_CONNECTIONS.help("Connections of a port at once; more are closed")
    )]
    pub max_connections: usize,

    #[arg(
        long,
        env = "COUNTERSIGN_MAX_CONNECTIONS_PER_ADDRESS",
        default_value_t = 2048,
        help = MAX_CONNECTIONS_PER_ADDRESS.help("Connections of a port at once from one address")
    )]
    pub max_connections_per_address: usize,

    #[arg(
        long,
        env = "COUNTERSIGN_MAX_CONNECTION_AGE",
        default_value = "30m",
        value_parser = humantime::parse_duration,
        help = MAX_CONNECTION_AGE.help("Age, give or take a tenth, at which a connection is to be made anew, so that clients find new replicas")
    )]
    pub max_connection_age: Duration,

    /// File with the lists and tables that flags cannot say, in TOML; read again when it changes, and on SIGHUP
    #[arg(long, env = "COUNTERSIGN_POLICY_FILE")]
    pub policy_file: Option<PathBuf>,
}

impl ServerSettings {
    /// Checks them, for a command that has this time of going on by default. The policy file is read by itself.
    pub fn check(self, lame_duck: Duration, violations: &mut Violations) -> ServerPolicy {
        ServerPolicy {
            lame_duck: LAME_DUCK.check(self.lame_duck.unwrap_or(lame_duck), violations),
            drain_timeout: DRAIN_TIMEOUT.check(self.drain_timeout, violations),
            connections: ConnectionPolicy {
                max_connections: MAX_CONNECTIONS.check(self.max_connections, violations),
                max_connections_per_address: MAX_CONNECTIONS_PER_ADDRESS
                    .check(self.max_connections_per_address, violations),
                max_age: Some(MAX_CONNECTION_AGE.check(self.max_connection_age, violations)),
            },
            policy_file: self.policy_file,
        }
    }
}
