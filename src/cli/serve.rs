//! `countersign serve`: production.

use clap::Args;
use countersign_token::clock::Clock;

use super::{
    process::{Shutdown, bind, local_addr},
    reload::Reload,
    settings::{master_keys, require_schema, store},
};
use crate::{
    config::{
        DatabaseSettings, ListenSettings, MasterKeySettings, PolicyFile, PolicySettings, ServerSettings, checked,
        read_secret_file,
    },
    crypto::service_token::ServiceTokenHash,
    edge::{Callers, Defaults},
    error::Error,
    server::{Config, Server},
};

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    master_keys: MasterKeySettings,
    #[command(flatten)]
    listen: ListenSettings,
    #[command(flatten)]
    server: ServerSettings,
    #[command(flatten)]
    policy: PolicySettings,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), Error> {
        let Self { database, master_keys: sealed_by, listen, server, policy } = self;
        let ((), policies, server) =
            checked(|violations| (database.check(violations), policy.check(violations), server.check(violations)))?;
        let policy_file = server.policy_file.map(PolicyFile::read).transpose()?;
        let callers = Callers {
            defaults: Defaults::Open,
            admin_token: admin_token(&listen)?,
            policy: policy_file.as_ref().map(PolicyFile::current),
        };
        let reload = Reload::listen(policy_file)?;
        let config = Config {
            master_keys: master_keys(&sealed_by)?,
            callers,
            store: store(&database)?,
            policies,
            drain_timeout: server.drain_timeout,
            clock: Clock::system(),
        };
        require_schema(&config.store).await?;
        let server = Server::build(config).await?;
        let listeners = bind(listen.grpc_addr, listen.http_addr).await?;
        let (grpc, http) = (local_addr(&listeners.grpc)?, local_addr(&listeners.http)?);
        let shutdown = Shutdown::listen()?;
        tracing::info!(%grpc, %http, "serving");
        reload.beside(server.serve(listeners, shutdown.requested())).await?;
        tracing::info!("stopped");
        Ok(())
    }
}

fn admin_token(listen: &ListenSettings) -> Result<Option<ServiceTokenHash>, Error> {
    let Some(path) = &listen.admin_token_file else {
        return Ok(None);
    };
    let content = read_secret_file("admin-token-file", path)?;
    ServiceTokenHash::from_file_content(&content).map(Some)
}
