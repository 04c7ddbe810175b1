//! `countersign healthcheck`: for containers whose image holds nothing but this binary.

use std::time::Duration;

use clap::Args;

use super::output::say;
use crate::{domain::listen::ListenAddr, error::Error, grpc, http, net::Security};

#[derive(Args)]
pub(super) struct Healthcheck {
    /// Address of the server's gRPC port
    #[arg(long, env = "COUNTERSIGN_GRPC_ADDR", default_value = "127.0.0.1:50051")]
    grpc_addr: ListenAddr,

    /// Asks /readyz of HTTP at COUNTERSIGN_HTTP_ADDR instead: no client needs a certificate there
    #[arg(long)]
    http: bool,

    /// Address of the server's HTTP port
    #[arg(long, env = "COUNTERSIGN_HTTP_ADDR", default_value = "127.0.0.1:8080")]
    http_addr: ListenAddr,

    /// Speaks TLS, and takes whatever certificate the server shows; for a server on this machine alone
    #[arg(long)]
    tls_no_verify: bool,

    /// Longest time to wait for an answer
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Healthcheck {
    pub(super) async fn run(self) -> Result<(), Error> {
        let security = if self.tls_no_verify { Security::UnverifiedTls } else { Security::Plaintext };
        if self.http {
            http::check_ready(&self.http_addr, security, self.timeout).await?;
        } else {
            grpc::check_health(&self.grpc_addr, security, self.timeout).await?;
        }
        say("serving")
    }
}
