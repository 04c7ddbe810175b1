//! `countersign serve`: production.

use std::time::Duration;

use clap::Args;
use countersign_token::clock::Clock;
use sd_notify::NotifyState;
use tokio::time::{Instant, sleep};

use super::{
    admin_token::AdminTokenFile,
    process::{allow_connections, stop_signals},
    reload::Reload,
    settings::{master_keys, require_schema, store},
    traces::ServerTraces,
};
use crate::{
    config::{
        DatabaseSettings, ListenSettings, MasterKeySettings, PolicyFile, PolicySettings, Routes, ServerSettings,
        TlsSettings, checked, trace_policy,
    },
    crypto::password_rules::PasswordRules,
    domain::{
        connection::{ConnectionPolicy, TlsPolicy, Transport},
        listen::ListenAddr,
        policy::ServerPolicy,
        trace::TracePolicy,
    },
    edge::{Callers, Defaults},
    error::Error,
    grpc::GrpcPorts,
    http::HttpPorts,
    net::{Listener, Port, Protocol, TlsFiles},
    server::{Config, Ports, Server, Stop},
    store::Store,
};

/// Time for which a stop goes on serving by default: Kubernetes and meshes take some seconds to send requests elsewhere.
const LAME_DUCK: Duration = Duration::from_secs(5);
/// Pause between two tries to reach the database at the start.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

#[derive(Args, Clone)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) database: DatabaseSettings,
    #[command(flatten)]
    pub(super) master_keys: MasterKeySettings,
    #[command(flatten)]
    pub(super) listen: ListenSettings,
    #[command(flatten)]
    pub(super) tls: TlsSettings,
    #[command(flatten)]
    pub(super) server: ServerSettings,
    #[command(flatten)]
    pub(super) policy: PolicySettings,
}

/// The settings and the files that they name, checked.
struct Checked {
    config: Config,
    listen: ListenSettings,
    connections: ConnectionPolicy,
    tls: Option<TlsFiles>,
    http_speaks_tls: bool,
    policy_file: Option<PolicyFile>,
    admin_token: Option<AdminTokenFile>,
    traces: Option<TracePolicy>,
}

impl Serve {
    /// Checks the settings, and reads the files that they name. Opens nothing.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names what is wrong.
    pub(super) fn check(self) -> Result<(), Error> {
        let policy = self.checked()?.config.policies.passwords;
        PasswordRules::new(policy.blocklist, policy.min_score).load().map(drop)
    }

    fn checked(self) -> Result<Checked, Error> {
        let Self { database, master_keys: sealed_by, listen, tls, server, policy } = self;
        let (policies, server, transport, traces) = checked(|violations| {
            database.check(violations);
            listen.check(violations);
            let transport = tls.check(&listen, violations);
            let server = server.check(LAME_DUCK, violations);
            (policy.check(violations), server, transport, trace_policy(violations))
        })?;
        let ServerPolicy { lame_duck, drain_timeout, connections, policy_file } = server;
        let policy_file =
            policy_file.map(|path| PolicyFile::read(path, Routes::of(policies.authz.forward_auth))).transpose()?;
        let (files, http_speaks_tls) = match transport {
            Transport::Plaintext => (None, false),
            Transport::Tls(files) => (Some(files), true),
            Transport::TlsOfGrpc(files) => (Some(files), false),
        };
        let admin_token = listen.admin_token_file.clone().map(AdminTokenFile::read).transpose()?;
        let callers = Callers {
            defaults: if files.as_ref().is_some_and(TlsPolicy::knows_clients) {
                Defaults::MutualTls
            } else {
                Defaults::Open
            },
            admin_token: admin_token.as_ref().map(AdminTokenFile::current),
            policy: policy_file.as_ref().map(PolicyFile::current),
        };
        let tls = files.map(TlsFiles::read).transpose()?;
        let config = Config {
            master_keys: master_keys(&sealed_by)?,
            callers,
            store: store(&database)?,
            policies,
            lame_duck,
            drain_timeout,
            clock: Clock::system(),
        };
        Ok(Checked { config, listen, connections, tls, http_speaks_tls, policy_file, admin_token, traces })
    }

    pub(super) async fn run(self) -> Result<(), Error> {
        self.checked()?.serve().await
    }
}

impl Checked {
    async fn serve(self) -> Result<(), Error> {
        let Self { config, listen, connections, tls, http_speaks_tls, policy_file, admin_token, traces } = self;
        let further = [&listen.admin_addr, &listen.forward_auth_addr, &listen.metrics_addr];
        let ports = 2 + further.into_iter().flatten().count();
        allow_connections(connections.max_connections.saturating_mul(ports));
        let config_of = |protocol| tls.as_ref().map(|files| files.config(protocol));
        let protocol = if listen.grpc_web { Protocol::Both } else { Protocol::Http2 };
        let (grpc_tls, http_tls) = (config_of(protocol), config_of(Protocol::Http1).filter(|_| http_speaks_tls));
        let mut stop = stop_signals()?;
        let listener = Listener::bind("http-addr", &listen.http_addr).await?;
        let forward_auth = listen_if("forward-auth-addr", listen.forward_auth_addr.as_ref()).await?;
        let metrics = listen_if("metrics-addr", listen.metrics_addr.as_ref()).await?;
        let http_addr = listener.to_string();
        let [asked, scraped] = [&forward_auth, &metrics].map(|addr| addr.as_ref().map(tracing::field::display));
        tracing::info!(http = http_addr, forward_auth = asked, metrics = scraped, "listening");
        let http_port =
            |listener| Port { listener, protocol: Protocol::Http1, tls: http_tls.clone(), policy: connections };
        let http = HttpPorts {
            main: http_port(listener),
            forward_auth: forward_auth.map(http_port),
            metrics: metrics.map(http_port),
            status_page: listen.status_page,
        };
        let ports = Ports::open(http, config.policies.authz.clone());
        let port = |listener| Port { listener, protocol, tls: grpc_tls.clone(), policy: connections };
        let serving = async {
            let server = tokio::select! {
                built = build(config, listen.database_wait) => built?,
                () = stop.requested() => return Ok(()),
            };
            // Whoever connects is answered at once.
            let opened = tokio::select! {
                () = server.ready() => listen_on(&listen).await.map(Some),
                () = stop.requested() => Ok(None),
            };
            let Ok(Some((main, admin))) = opened else {
                server.leave().await;
                return opened.map(drop);
            };
            let traces = match ServerTraces::start(traces, &server) {
                Ok(traces) => traces,
                Err(error) => {
                    server.leave().await;
                    return Err(error);
                }
            };
            // Whoever is told that it serves may ask whether it is ready.
            ports.answer_by(server.authorizer());
            tracing::info!(
                grpc = %main,
                http = http_addr,
                admin = admin.as_ref().map(tracing::field::display),
                "serving"
            );
            notify(NotifyState::Ready);
            tokio::spawn(notify_stopping(stop.clone()));
            let grpc = GrpcPorts { main: port(main), admin: admin.map(port) };
            traces.beside(server.serve(ports, grpc, stop)).await
        };
        Reload::listen(policy_file, tls, admin_token)?.beside(serving).await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Listens on the addresses of gRPC: that of callers, and that of administrators if there is one.
async fn listen_on(listen: &ListenSettings) -> Result<(Listener, Option<Listener>), Error> {
    let main = Listener::bind("grpc-addr", &listen.grpc_addr).await?;
    Ok((main, listen_if("admin-addr", listen.admin_addr.as_ref()).await?))
}

/// Listens on an address, if one is given.
async fn listen_if(setting: &'static str, addr: Option<&ListenAddr>) -> Result<Option<Listener>, Error> {
    match addr {
        Some(addr) => Listener::bind(setting, addr).await.map(Some),
        None => Ok(None),
    }
}

/// Builds a server, once its database can be reached.
async fn build(config: Config, database_wait: Duration) -> Result<Server, Error> {
    wait_for_database(&config.store, database_wait).await?;
    Server::build(config).await
}

/// Waits for a database that can be served.
///
/// # Errors
/// [`Error::DatabaseUnavailable`] at the end of the wait; [`Error::InvalidArgument`] for one that cannot be served, at once.
async fn wait_for_database(store: &Store, wait: Duration) -> Result<(), Error> {
    let until = Instant::now() + wait;
    let mut said = false;
    loop {
        match require_schema(store).await {
            Err(Error::DatabaseUnavailable(error)) if Instant::now() < until => {
                if !said {
                    tracing::warn!(error, "waiting for the database");
                    said = true;
                }
                sleep(DATABASE_PAUSE.min(until - Instant::now())).await;
            }
            result => return result,
        }
    }
}

/// Tells systemd, if it asked to be told (sd_notify(3)).
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

async fn notify_stopping(mut stop: Stop) {
    stop.requested().await;
    notify(NotifyState::Stopping);
}
