//! A server in this process, with a clock that the test moves.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, builder::Resettable};
use countersign::{
    auth::Auth,
    config::{Policies, PolicySettings, checked},
    crypto::{seal::MasterKeys, service_token::ServiceTokenHash},
    domain::{audit::Actor, policy::AuthzPolicy},
    edge::{Callers, Defaults},
    error::Error,
    grpc::v1::{auth_service_client::AuthServiceClient, user_service_client::UserServiceClient},
    http::HttpPorts,
    net::{Port, Protocol},
    server::{self, Config, Ports, Server, Stop},
    store::{Store, StoreSettings},
};
use countersign_token::clock::Clock;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{actor::User, cluster};

/// One master key for all: base64 of 32 bytes.
pub(crate) const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub(crate) const ADMIN_TOKEN: &str = "an-administrators-token-of-some-characters";

/// The header by which a caller administers.
pub(crate) fn bearer() -> String {
    format!("Bearer {ADMIN_TOKEN}")
}

/// The request of an administrator.
pub(crate) fn administering<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("authorization", bearer().parse().expect("header"));
    request
}

/// How a server is to be set up.
pub(crate) struct Setup {
    pub settings: PolicySettings,
    pub callers: Callers,
    pub database_url: String,
    pub clock: Clock,
    pub database_deadline: Duration,
    pub master_key: String,
}

#[derive(Parser)]
struct TestSettings {
    #[command(flatten)]
    settings: PolicySettings,
}

/// The defaults of the product, whatever the environment of the tests says.
fn defaults() -> PolicySettings {
    let command = TestSettings::command().mut_args(|arg| arg.env(Resettable::Reset));
    // The clock of a test is not the database's.
    let arguments = ["test", "--max-clock-distance", "1h"];
    let matches = command.try_get_matches_from(arguments).expect("defaults");
    TestSettings::from_arg_matches(&matches).expect("defaults").settings
}

impl Setup {
    /// The defaults of the product, on a database of its own.
    pub(crate) async fn new() -> Self {
        Self::on(cluster::database().await, Clock::manual())
    }

    pub(crate) fn on(database_url: String, clock: Clock) -> Self {
        Self {
            settings: defaults(),
            callers: Callers::new(Defaults::Loopback, None),
            database_url,
            clock,
            database_deadline: Duration::from_secs(5),
            master_key: MASTER_KEY.to_owned(),
        }
    }

    pub(crate) fn with_admin_token(mut self) -> Self {
        let hash = ServiceTokenHash::from_file_content(ADMIN_TOKEN).expect("token");
        self.callers = Callers::new(Defaults::Open, Some(hash));
        self
    }

    /// What the command line works with: nothing runs, and no key has been opened.
    pub(crate) fn without_start(self) -> Auth {
        let store = StoreSettings { url: self.database_url, connections: 2, deadline: self.database_deadline };
        let store = Store::new(&store).expect("settings");
        let master_keys = MasterKeys::parse("master-key-file", &self.master_key).expect("a list");
        let policies = checked(|violations| self.settings.check(violations)).expect("settings");
        let Policies { keys, tokens, .. } = policies.clone();
        let accounts = server::accounts(store, policies, Actor::CommandLine, self.clock).expect("threads");
        Auth::new(accounts, master_keys, keys, tokens)
    }

    pub(crate) async fn start(self) -> TestServer {
        self.try_start().await.expect("the server starts")
    }

    pub(crate) async fn try_start(self) -> Result<TestServer, Error> {
        let server = self.launch().await?;
        server.auth.revocations().caught_up(server.clock.boot()).await;
        Ok(server)
    }

    /// Starts it without waiting until it knows of revocations.
    pub(crate) async fn launch(self) -> Result<TestServer, Error> {
        let store = StoreSettings { url: self.database_url.clone(), connections: 16, deadline: self.database_deadline };
        let policies = checked(|violations| self.settings.check(violations))?;
        let (authz, routed) = (policies.authz.clone(), policies.authz.clone());
        let server = Server::build(Config {
            policies,
            lame_duck: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            store: Store::new(&store)?,
            master_keys: MasterKeys::parse("master-key-file", &self.master_key)?,
            callers: self.callers,
            clock: self.clock.clone(),
        })
        .await?;
        let auth = server.auth();
        let (grpc, http) = (listener().await, listener().await);
        let (grpc_addr, http_addr) = (addr(&grpc), addr(&http));
        let (stop, stopped) = oneshot::channel::<()>();
        let http = HttpPorts { status_page: true, ..Port::plaintext(http, Protocol::Http1).into() };
        let ports = Ports::open(http, routed);
        let stopping = Stop::when(async move { drop(stopped.await) });
        let task = tokio::spawn(server.serve(ports, Port::plaintext(grpc, Protocol::Http2), stopping));
        let channel = Endpoint::from_shared(format!("http://{grpc_addr}")).expect("endpoint");
        Ok(TestServer {
            channel: channel.connect().await.expect("connect"),
            grpc_addr,
            http_addr,
            auth,
            authz,
            clock: self.clock,
            database_url: self.database_url,
            stop,
            task,
        })
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

fn addr(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("bound")
}

/// A running server; it stops when it is dropped.
pub(crate) struct TestServer {
    pub grpc_addr: SocketAddr,
    pub http_addr: SocketAddr,
    pub auth: Arc<Auth>,
    pub authz: AuthzPolicy,
    pub clock: Clock,
    pub database_url: String,
    channel: Channel,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Setup::new().await.start().await
    }

    /// Another replica over the same database and by the same clock.
    pub(crate) async fn replica(&self) -> Self {
        Setup::on(self.database_url.clone(), self.clock.clone()).start().await
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn auth_client(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel())
    }

    pub(crate) fn user_client(&self) -> UserServiceClient<Channel> {
        UserServiceClient::new(self.channel())
    }

    /// Creates a user.
    pub(crate) async fn user(&self, name: &str) -> User {
        User::create(self, name).await
    }

    /// Moves the clock, and waits until this server has heard of revocations after that.
    pub(crate) async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.catch_up().await;
    }

    /// Waits until this server has applied every revocation that was acknowledged by now. The clock has to move a
    /// little, because the follower's next statement has to be told from its last.
    pub(crate) async fn catch_up(&self) {
        self.clock.advance(Duration::from_nanos(1));
        self.auth.base.log.request_heartbeat();
        let caught_up = self.auth.revocations().caught_up(self.clock.boot());
        timeout(Duration::from_secs(60), caught_up).await.expect("the follower follows");
    }

    /// Lets time pass for the keys too: whatever is due for them has been done by this replica or another.
    pub(crate) async fn pass(&self, by: Duration) {
        self.auth.keys.look_after().await.expect("looked after");
        self.advance(by).await;
        self.auth.keys.look_after().await.expect("looked after");
        self.catch_up().await;
    }

    /// What it says of itself.
    pub(crate) async fn health(&self) -> ServingStatus {
        let answer = HealthClient::new(self.channel()).check(HealthCheckRequest::default()).await;
        answer.expect("an answer").into_inner().status()
    }

    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        drop(self.stop);
        self.task.await.expect("the task ends")
    }
}
