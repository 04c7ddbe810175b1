//! The server as a process: where it listens, whom it trusts, and how it stops.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::{range::Range, violations::Violations};
use crate::domain::policy::ServerPolicy;

const DRAIN_TIMEOUT: Range<Duration> = Range::time("drain-timeout", Duration::ZERO, Duration::from_secs(600));

/// Settings of where `serve` listens, and whom it trusts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ListenSettings {
    /// Address of gRPC; port 0 takes a free one
    #[arg(long, env = "COUNTERSIGN_GRPC_ADDR", default_value = "0.0.0.0:50051")]
    pub grpc_addr: SocketAddr,

    /// Address of HTTP (JWKS, probes); port 0 takes a free one
    #[arg(long, env = "COUNTERSIGN_HTTP_ADDR", default_value = "0.0.0.0:8080")]
    pub http_addr: SocketAddr,

    /// File with the bearer token of administrators; without it nobody administers over gRPC
    #[arg(long, env = "COUNTERSIGN_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// Settings of a server as a process; the same in `serve` and `dev`.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerSettings {
    #[arg(
        long,
        env = "COUNTERSIGN_DRAIN_TIMEOUT",
        default_value = "10s",
        value_parser = humantime::parse_duration,
        help = DRAIN_TIMEOUT.help("Longest time that a stop waits for calls under way")
    )]
    pub drain_timeout: Duration,

    /// File with the lists and tables that flags cannot say, in TOML; read again when it changes, and on SIGHUP
    #[arg(long, env = "COUNTERSIGN_POLICY_FILE")]
    pub policy_file: Option<PathBuf>,
}

impl ServerSettings {
    /// Checks them. The policy file is read by itself.
    pub fn check(self, violations: &mut Violations) -> ServerPolicy {
        let drain_timeout = DRAIN_TIMEOUT.check(self.drain_timeout, violations);
        ServerPolicy { drain_timeout, policy_file: self.policy_file }
    }
}
