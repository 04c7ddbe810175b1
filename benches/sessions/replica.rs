//! A server in this process, with the defaults of the product.

use std::{sync::Arc, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, builder::Resettable};
use countersign::{
    auth::{Auth, login::LoginRequest, tokens::TokenPair},
    config::{DatabaseSettings, PolicySettings, checked},
    crypto::{seal::MasterKeys, secret::Secret},
    domain::{password::Password, policy::Notifications, session::ClientInfo, user::Username},
    edge::{Callers, Defaults},
    error::Error,
    net::{Port, Protocol},
    server::{Config, Ports, Server, Stop},
    store::{Store, StoreSettings},
};
use countersign_token::clock::{BootInstant, Clock};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Base64 of 32 bytes.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PASSWORD: &str = "correct horse battery staple";
pub(crate) const USERNAME: &str = "ann";

#[derive(Parser)]
struct BenchSettings {
    #[command(flatten)]
    settings: PolicySettings,
}

/// The defaults, whatever the environment says.
fn defaults() -> PolicySettings {
    let command = BenchSettings::command().mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(["bench"]).expect("defaults");
    BenchSettings::from_arg_matches(&matches).expect("defaults").settings
}

/// A running server.
pub(crate) struct Replica {
    pub auth: Arc<Auth>,
    /// When `Server::serve` began.
    pub begun: BootInstant,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl Replica {
    /// Starts it, and waits until it knows of revocations.
    pub(crate) async fn start(url: &str, notifications: Notifications) -> Self {
        let replica = Self::launch(url, notifications, default_deadline()).await;
        replica.fresh().await;
        replica
    }

    /// Starts it; statements have `deadline`.
    pub(crate) async fn launch(url: &str, notifications: Notifications, deadline: Duration) -> Self {
        let store = StoreSettings { url: url.to_owned(), connections: 16, deadline };
        let clock = Clock::system();
        let mut settings = defaults();
        settings.revocation.notifications = notifications;
        let policies = checked(|violations| settings.check(violations)).expect("settings");
        let authz = policies.authz.clone();
        let config = Config {
            policies,
            lame_duck: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            store: Store::new(&store).expect("settings"),
            master_keys: MasterKeys::parse("master-key-file", MASTER_KEY).expect("a key"),
            callers: Callers::new(Defaults::Loopback, None),
            clock: clock.clone(),
        };
        let server = Server::build(config).await.expect("built");
        let auth = server.auth();
        let (grpc_port, http) = (listener().await, listener().await);
        let (stop, stopped) = oneshot::channel::<()>();
        let begun = clock.boot();
        let stopping = Stop::when(async move { drop(stopped.await) });
        let ports = Ports::open(Port::plaintext(http, Protocol::Http1), authz);
        let task = tokio::spawn(server.serve(ports, Port::plaintext(grpc_port, Protocol::Http2), stopping));
        Self { auth, begun, stop, task }
    }

    /// Waits for the first fresh state; says how long it took since `Server::serve` began.
    pub(crate) async fn fresh(&self) -> Duration {
        self.auth.revocations().caught_up(self.begun).await;
        self.auth.base.clock.boot().since(self.begun)
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("no panic").expect("stopped");
    }

    /// Creates the user whose sessions are to end.
    pub(crate) async fn create_user(&self) {
        let (name, password) = (Username::parse(USERNAME).expect("a name"), password());
        self.auth.users.create(name, password, vec!["reader".to_owned()]).await.expect("created");
    }

    pub(crate) async fn login(&self) -> TokenPair {
        let request = LoginRequest {
            client_id: "default".to_owned(),
            device_hint: Secret::new(String::new()),
            until: None,
            username: Username::parse(USERNAME).expect("a name"),
            password: password(),
            audience: vec![],
            client: ClientInfo::default(),
        };
        self.auth.login(request).await.expect("logged in").tokens
    }
}

/// How long a statement may take by default.
pub(crate) fn default_deadline() -> Duration {
    DatabaseSettings::local(String::new()).database_deadline
}

fn password() -> Password {
    Password::parse("password", PASSWORD).expect("a password")
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}
