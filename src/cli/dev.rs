//! `countersign dev`: everything on one machine with no set-up. A private durable Postgres in the data directory, the
//! schema, keys, a demo user, and commands to paste. Listens on loopback only, where everybody may do everything.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use countersign_token::clock::Clock;
use private_postgres::{Cluster, Durability, LaunchError};
use serde::{Deserialize, Serialize};

use super::{
    output::say,
    process::{block_on, stop_signals},
    reload::Reload,
    secret_file::{Former, write_whole},
    settings::store,
    traces::ServerTraces,
};
use crate::{
    auth::users::UserKey,
    config::{
        DatabaseSettings, Policies, PolicyFile, PolicySettings, Routes, ServerSettings, checked, read_file,
        trace_policy,
    },
    crypto::{
        random,
        seal::MasterKeys,
        service_token::{self, ServiceTokenHash},
    },
    domain::{
        connection::ConnectionPolicy, listen::ListenAddr, password::Password, policy::ServerPolicy, trace::TracePolicy,
        user::Username,
    },
    edge::{Callers, Defaults},
    error::Error,
    http::HttpPorts,
    net::{Listener, Port, Protocol},
    server::{Config, Ports, Server},
};

const USERNAME: &str = "demo";
const DATABASE: &str = "countersign";
const PASSWORD_BYTES: usize = 18;

#[derive(Args)]
#[command(next_help_heading = "Server")]
pub(super) struct Dev {
    /// Directory in which users, sessions and keys are kept from one start to the next
    #[arg(long, env = "COUNTERSIGN_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// Address for gRPC, on loopback; port 0 takes a free one
    #[arg(long, env = "COUNTERSIGN_GRPC_ADDR", default_value = "127.0.0.1:50051")]
    grpc_addr: ListenAddr,

    /// Address for HTTP (JWKS, probes), on loopback; port 0 takes a free one
    #[arg(long, env = "COUNTERSIGN_HTTP_ADDR", default_value = "127.0.0.1:8080")]
    http_addr: ListenAddr,

    #[command(flatten)]
    server: ServerSettings,

    #[command(flatten)]
    policy: PolicySettings,
}

/// The settings, checked.
struct Checked {
    addrs: [ListenAddr; 2],
    policies: Policies,
    lame_duck: Duration,
    drain_timeout: Duration,
    connections: ConnectionPolicy,
    policy_file: Option<PolicyFile>,
    traces: Option<TracePolicy>,
}

/// The content of `dev.json`, for scripts and for a second replica.
#[derive(Serialize, Deserialize)]
struct Facts {
    grpc_addr: String,
    http_addr: String,
    database_url: String,
    master_key_file: PathBuf,
    username: String,
    password: String,
    /// The bearer token of administrators. Nobody on loopback needs it, unless a policy file lists callers.
    #[serde(default)]
    admin_token: String,
}

impl Dev {
    pub(super) fn run(self) -> Result<(), Error> {
        let Self { data_dir, grpc_addr, http_addr, server, policy } = self;
        let (policies, server, traces) = checked(|violations| {
            (policy.check(violations), server.check(Duration::ZERO, violations), trace_policy(violations))
        })?;
        for (setting, addr) in [("grpc-addr", &grpc_addr), ("http-addr", &http_addr)] {
            if !addr.is_local() {
                let advice =
                    "dev listens on loopback only, because there everybody administers; see `countersign serve`";
                return Err(Error::invalid(setting, advice));
            }
        }
        let ServerPolicy { lame_duck, drain_timeout, connections, policy_file } = server;
        let policy_file =
            policy_file.map(|path| PolicyFile::read(path, Routes::of(policies.authz.forward_auth))).transpose()?;
        let dir = data_dir.map_or_else(default_data_dir, Ok)?;
        let mut cluster = Cluster::start(&dir, Durability::Durable).map_err(start_failed)?;
        let dir = dir.canonicalize().map_err(Error::internal)?;
        let addrs = [grpc_addr, http_addr];
        let checked = Checked { addrs, policies, lame_duck, drain_timeout, connections, policy_file, traces };
        let served = block_on(checked.serve(&dir, cluster.url(DATABASE)));
        served.and(cluster.stop().map_err(Error::internal))
    }
}

impl Checked {
    async fn serve(self, dir: &Path, database_url: String) -> Result<(), Error> {
        let admin_token = admin_token(dir)?;
        let callers = Callers {
            policy: self.policy_file.as_ref().map(PolicyFile::current),
            ..Callers::new(Defaults::Loopback, Some(ServiceTokenHash::from_file_content(&admin_token)?))
        };
        let (stop, reload) = (stop_signals()?, Reload::listen(self.policy_file, None, None)?);
        let master_key_file = dir.join("master.key");
        if !master_key_file.exists() {
            write_private(&master_key_file, MasterKeys::generate()?.as_bytes(), Former::Kept)?;
        }
        let store = store(&DatabaseSettings::local(database_url.clone()))?;
        store.migrate().await?;
        let authz = self.policies.authz.clone();
        let config = Config {
            master_keys: MasterKeys::parse("data-dir", &read_file("data-dir", &master_key_file)?)?,
            callers,
            policies: self.policies,
            lame_duck: self.lame_duck,
            drain_timeout: self.drain_timeout,
            store,
            clock: Clock::system(),
        };
        let server = Server::build(config).await?;
        let password = demo_password(&server, dir).await?;
        let [grpc_addr, http_addr] = &self.addrs;
        let (grpc, http) =
            (Listener::bind("grpc-addr", grpc_addr).await?, Listener::bind("http-addr", http_addr).await?);
        let facts = Facts {
            grpc_addr: grpc.to_string(),
            http_addr: http.to_string(),
            database_url,
            master_key_file,
            username: USERNAME.to_owned(),
            password,
            admin_token,
        };
        let traces = ServerTraces::start(self.traces, &server)?;
        server.ready().await;
        let port = |listener, protocol| Port { listener, protocol, tls: None, policy: self.connections };
        let http = HttpPorts { status_page: true, ..port(http, Protocol::Http1).into() };
        let ports = Ports::open(http, authz);
        facts.write(dir)?;
        say(banner(&facts, dir))?;
        reload.beside(traces.beside(server.serve(ports, port(grpc, Protocol::Http2), stop))).await
    }
}

impl Facts {
    fn path(dir: &Path) -> PathBuf {
        dir.join("dev.json")
    }

    fn read(dir: &Path) -> Option<Self> {
        serde_json::from_str(&read_file("data-dir", &Self::path(dir)).ok()?).ok()
    }

    fn write(&self, dir: &Path) -> Result<(), Error> {
        let mut json = serde_json::to_vec_pretty(self).map_err(Error::internal)?;
        json.push(b'\n');
        write_private(&Self::path(dir), &json, Former::Replaced)
    }
}

/// The token of administrators: as it was at the last start, or a new one.
fn admin_token(dir: &Path) -> Result<String, Error> {
    let file = dir.join("admin.token");
    if !file.exists() {
        write_private(&file, service_token::generate()?.expose().as_bytes(), Former::Kept)?;
    }
    Ok(read_file("data-dir", &file)?.trim().to_owned())
}

/// The password of the demo user: as it was at the last start, or a new one.
async fn demo_password(server: &Server, dir: &Path) -> Result<String, Error> {
    let auth = server.auth();
    let username = Username::parse(USERNAME)?;
    let found = match auth.users.find(&UserKey::Name(username.clone())).await {
        Ok(user) => Some(user),
        Err(Error::UserNotFound) => None,
        Err(error) => return Err(error),
    };
    if let (Some(_), Some(facts)) = (&found, Facts::read(dir)) {
        return Ok(facts.password);
    }
    let text = URL_SAFE_NO_PAD.encode(random::bytes::<PASSWORD_BYTES>()?);
    let password = Password::parse("password", &text)?;
    match found {
        Some(user) => {
            auth.users.set_password(user.id, password).await?;
        }
        None => {
            auth.users.create(username, password, vec!["demo".to_owned()]).await?;
        }
    }
    Ok(text)
}

/// Chooses, as root, a directory that the user whom Postgres runs as can enter, which /root is not.
fn default_data_dir() -> Result<PathBuf, Error> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/countersign-dev"));
    }
    let base = env::var_os("XDG_DATA_HOME")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".local/share")));
    base.map(|base| base.join("countersign-dev"))
        .ok_or_else(|| Error::invalid("data-dir", "no home directory: name one"))
}

fn write_private(path: &Path, content: &[u8], former: Former) -> Result<(), Error> {
    write_whole(path, content, former)
        .map_err(|error| Error::invalid("data-dir", format!("{}: {error}", path.display())))
}

fn start_failed(error: LaunchError) -> Error {
    Error::invalid("data-dir", error.to_string())
}

fn banner(facts: &Facts, dir: &Path) -> String {
    let Facts { grpc_addr: grpc, http_addr: http, username, password, admin_token, .. } = facts;
    let json = Facts::path(dir);
    let curl = "buf curl --protocol grpc --http2-prior-knowledge";
    let service = "countersign.v1.AuthService";
    format!(
        r#"
Countersign is ready.  gRPC {grpc}   HTTP http://{http}   facts for scripts: {json}
Users, sessions and keys are kept in {dir}. Ctrl-C stops everything.

Try it with grpcurl:

  TOKENS=$(grpcurl -plaintext -d '{{"username":"{username}","password":"{password}"}}' {grpc} {service}/Login)
  ACCESS=$(echo "$TOKENS" | sed -n 's/.*"accessToken": *"\([^"]*\)".*/\1/p')
  REFRESH=$(echo "$TOKENS" | sed -n 's/.*"refreshToken": *"\([^"]*\)".*/\1/p')
  grpcurl -plaintext -d "{{\"access_token\":\"$ACCESS\"}}" {grpc} {service}/Verify
  grpcurl -plaintext -d "{{\"refresh_token\":\"$REFRESH\"}}" {grpc} {service}/Refresh
  grpcurl -plaintext -d "{{\"refresh_token\":\"$REFRESH\"}}" {grpc} {service}/Revoke

or with buf (npm install -g @bufbuild/buf):

  TOKENS=$({curl} -d '{{"username":"{username}","password":"{password}"}}' http://{grpc}/{service}/Login)
  ACCESS=$(echo "$TOKENS" | sed -n 's/.*"accessToken": *"\([^"]*\)".*/\1/p')
  REFRESH=$(echo "$TOKENS" | sed -n 's/.*"refreshToken": *"\([^"]*\)".*/\1/p')
  {curl} -d "{{\"access_token\":\"$ACCESS\"}}" http://{grpc}/{service}/Verify
  {curl} -d "{{\"refresh_token\":\"$REFRESH\"}}" http://{grpc}/{service}/Refresh
  {curl} -d "{{\"refresh_token\":\"$REFRESH\"}}" http://{grpc}/{service}/Revoke

Administer users (the token is in dev.json; it is needed where a policy file lists callers):

  grpcurl -plaintext -H "authorization: Bearer {admin_token}" {grpc} countersign.v1.UserService/ListUsers

The public keys: curl http://{http}/.well-known/jwks.json
What is happening: http://{http}/status in a browser, or curl http://{http}/metrics
"#,
        json = json.display(),
        dir = dir.display(),
    )
}
