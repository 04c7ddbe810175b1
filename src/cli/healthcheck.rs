//! `countersign healthcheck`: for containers whose image holds nothing but this binary.

use std::{net::SocketAddr, time::Duration};

use clap::Args;

use super::output::say;
use crate::{error::Error, grpc};

#[derive(Args)]
pub(super) struct Healthcheck {
    /// Address of the server's gRPC port
    #[arg(long, env = "COUNTERSIGN_GRPC_ADDR", default_value = "127.0.0.1:50051")]
    grpc_addr: SocketAddr,

    /// Longest time to wait for an answer
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Healthcheck {
    pub(super) async fn run(self) -> Result<(), Error> {
        let mut addr = self.grpc_addr;
        if addr.ip().is_unspecified() {
            addr.set_ip([127, 0, 0, 1].into());
        }
        grpc::check_health(addr, self.timeout).await?;
        say("serving")
    }
}
