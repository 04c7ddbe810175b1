//! `countersign serve`: production.

use clap::Args;

use super::{
    process::{Shutdown, bind, local_addr},
    settings::{master_keys, require_schema, store},
};
use crate::{
    clock::Clock,
    config::{DatabaseSettings, MasterKeySettings, PolicySettings, ServeSettings, read_file},
    crypto::service_token::ServiceTokenHash,
    error::Error,
    grpc::Administration,
    server::{Config, Server},
};

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    master_keys: MasterKeySettings,
    #[command(flatten)]
    serve: ServeSettings,
    #[command(flatten)]
    policy: PolicySettings,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Error> {
        self.policy.check()?;
        let config = Config {
            master_keys: master_keys(&self.master_keys)?,
            administration: self.administration()?,
            store: store(&self.database)?,
            settings: self.policy,
            clock: Clock::system(),
        };
        require_schema(&config.store).await?;
        let server = Server::build(config).await?;
        let listeners = bind(self.serve.grpc_addr, self.serve.http_addr).await?;
        let (grpc, http) = (local_addr(&listeners.grpc)?, local_addr(&listeners.http)?);
        let shutdown = Shutdown::listen()?;
        tracing::info!(%grpc, %http, "serving");
        server.serve(listeners, shutdown.requested()).await?;
        tracing::info!("stopped");
        Ok(())
    }

    fn administration(&self) -> Result<Administration, Error> {
        let Some(path) = &self.serve.admin_token_file else {
            return Ok(Administration::Nobody);
        };
        let content = read_file("admin-token-file", path)?;
        ServiceTokenHash::from_file_content(&content).map(Administration::Bearer)
    }
}
