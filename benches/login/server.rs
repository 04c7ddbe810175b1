//! A server in this process with the defaults of the product, a Postgres of its own, and users.

use std::{env, fs, net::SocketAddr, path::PathBuf, process, sync::Arc, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, builder::Resettable};
use countersign::{
    auth::{Auth, login::LoginRequest},
    config::{DatabaseSettings, Policies, PolicySettings, checked},
    crypto::{seal::MasterKeys, secret::Secret},
    domain::{password::Password, session::ClientInfo, user::Username},
    edge::{Callers, Defaults},
    error::Error,
    net::{Port, Protocol},
    server::{self, Config, Ports, Stop},
    store::{Store, StoreSettings},
};
use countersign_token::clock::Clock;
use private_postgres::{Cluster, Durability};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Base64 of 32 bytes.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PASSWORD: &str = "correct horse battery staple";
/// How many users there are.
pub(crate) const USERS: usize = 64;

#[derive(Parser)]
struct BenchSettings {
    #[command(flatten)]
    settings: PolicySettings,
}

/// The defaults, whatever the environment says.
pub(crate) fn defaults() -> Policies {
    let command = BenchSettings::command().mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(["bench"]).expect("defaults");
    let settings = BenchSettings::from_arg_matches(&matches).expect("defaults").settings;
    checked(|violations| settings.check(violations)).expect("settings")
}

/// How many threads hash.
pub(crate) fn hash_threads() -> usize {
    defaults().passwords.hashing.threads
}

/// A running server.
pub(crate) struct Server {
    pub auth: Arc<Auth>,
    pub grpc: SocketAddr,
    cluster: Cluster,
    dir: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Server {
    /// Starts it, waits until it knows of revocations, and creates the users.
    pub(crate) async fn start() -> Self {
        let dir = env::temp_dir().join(format!("countersign-bench-{}", process::id()));
        let cluster = Cluster::start(&dir, Durability::Durable).expect("a Postgres on this machine");
        let clock = Clock::system();
        let config = Config {
            policies: defaults(),
            lame_duck: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            store: migrated(cluster.url("postgres")).await,
            master_keys: MasterKeys::parse("master-key-file", MASTER_KEY).expect("a key"),
            callers: Callers::new(Defaults::Loopback, None),
            clock: clock.clone(),
        };
        let server = server::Server::build(config).await.expect("built");
        let auth = server.auth();
        let (grpc_port, http) = (listener().await, listener().await);
        let grpc = grpc_port.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let begun = clock.boot();
        let stopping = Stop::when(async move { drop(stopped.await) });
        let ports = Ports::open(Port::plaintext(http, Protocol::Http1), defaults().authz);
        let task = tokio::spawn(server.serve(ports, Port::plaintext(grpc_port, Protocol::Http2), stopping));
        auth.revocations().caught_up(begun).await;
        for number in 0..USERS {
            let roles = vec!["reader".to_owned()];
            auth.users.create(username(number), password(), roles).await.expect("created");
        }
        Self { auth, grpc, cluster, dir, stop, task }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("no panic").expect("stopped");
        drop(self.cluster);
        drop(fs::remove_dir_all(&self.dir));
    }
}

async fn migrated(url: String) -> Store {
    let DatabaseSettings { database_connections, database_deadline, .. } = DatabaseSettings::local(url.clone());
    let settings = StoreSettings { url, connections: database_connections, deadline: database_deadline };
    let store = Store::new(&settings).expect("settings");
    store.migrate().await.expect("migrated");
    store
}

/// The name of a user; there is none beyond [`USERS`].
pub(crate) fn username(number: usize) -> Username {
    Username::parse(&format!("user-{number}")).expect("a name")
}

/// A user with the right password, from an address of its own.
pub(crate) fn right(number: usize) -> LoginRequest {
    LoginRequest {
        client_id: "default".to_owned(),
        device_hint: Secret::new(String::new()),
        until: None,
        username: username(number),
        password: password(),
        audience: vec![],
        client: ClientInfo { ip: address(number), ..ClientInfo::default() },
    }
}

/// One of 65,536 addresses.
pub(crate) fn address(number: usize) -> String {
    format!("10.0.{}.{}", number / 256 % 256, number % 256)
}

fn password() -> Password {
    Password::parse("password", PASSWORD).expect("a password")
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}
