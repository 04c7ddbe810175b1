//! `countersign mesh`: configuration of proxies that verify tokens by themselves, and the proof that one refuses what has ended.

mod istio;
mod selftest;
mod status;

use std::net::Ipv6Addr;

use clap::{Args, Subcommand, ValueEnum};

use super::output::say;
use crate::{
    error::Error,
    xds::{Life, Name},
};

const ENVOY: &str = include_str!("envoy.yaml");
/// The filters before the lists, for proxies of all kinds.
const FILTERS: &str = include_str!("filters.yaml");
const LIST: &str = include_str!("list.yaml");
/// The cluster of Countersign.
const CLUSTER: &str = include_str!("cluster.yaml");
/// The source of what is pushed, where the aggregated stream is ours.
const AGGREGATED: &str = "{ resource_api_version: V3, ads: {} }";

#[derive(Args)]
pub(super) struct Mesh {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the configuration of an Envoy that verifies tokens by itself, and is told of revocations
    EnvoyConfig(EnvoyConfig),
    /// Print objects of Istio, whose proxies verify tokens by themselves then, and are told of revocations
    IstioConfig(IstioConfig),
    /// Prove that a proxy refuses what has ended: log in, end that session, and wait for the refusal
    Selftest(selftest::Selftest),
    /// Show the proxies that replicas tell of revocations, and what each has confirmed
    Status(status::Status),
}

#[derive(Args)]
struct EnvoyConfig {
    #[command(flatten)]
    told: Told,

    /// Address of the application behind the proxy
    #[arg(long, default_value = "app:8080")]
    app: String,

    /// Address on which the proxy listens
    #[arg(long, default_value = "0.0.0.0:8000")]
    listen: String,

    /// Name of the proxy, by which Countersign's log calls it
    #[arg(long, default_value = "edge-1")]
    node: String,

    /// Lists that older revocations are spread over: one for each 50,000 that are to be expected
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    bases: u16,
}

#[derive(Args)]
struct IstioConfig {
    #[command(flatten)]
    told: Told,

    #[command(flatten)]
    workloads: istio::Workloads,
}

/// The source of what a proxy is told, and its behaviour without it.
#[derive(Args)]
struct Told {
    /// Addresses of Countersign's gRPC port: HOST:PORT, several with commas
    #[arg(long, default_value = "countersign:50051", value_delimiter = ',')]
    countersign: Vec<String>,

    /// Behaviour of the proxy when its lists have expired
    #[arg(long, default_value = "closed")]
    fail: Fail,

    /// Seconds after which the proxy falls back to that, if it hears nothing; what the server is set to if this is not given
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=300))]
    ttl: Option<u16>,
}

/// The behaviour of a proxy that does not know any more what has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fail {
    /// Refuses all tokens
    Closed,
    /// Accepts tokens that were revoked
    Open,
    /// Goes on for ever with what it knew last
    Stale,
}

impl Mesh {
    pub(super) async fn run(self) -> Result<(), Error> {
        match self.action {
            Action::EnvoyConfig(config) => say(config.text()?.trim_end()),
            Action::IstioConfig(config) => say(config.text()?.trim_end()),
            Action::Selftest(selftest) => selftest.run().await,
            Action::Status(status) => status.run().await,
        }
    }
}

impl EnvoyConfig {
    fn text(&self) -> Result<String, Error> {
        let (listen, app) = (split("listen", &self.listen)?, split("app", &self.app)?);
        if !self.node.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) || self.node.is_empty() {
            return Err(Error::invalid("node", "letters, digits and - . _"));
        }
        Ok(ENVOY
            .replace("@FALLBACK@", &self.told.fallback())
            .replace("@NODE@", &self.node)
            .replace("@TOKENS@", &self.told.tokens()?)
            .replace("@LISTEN_HOST@", listen.0)
            .replace("@LISTEN_PORT@", &listen.1.to_string())
            .replace("@APP_HOST@", app.0)
            .replace("@APP_PORT@", &app.1.to_string())
            .replace("@FILTERS@", &indented(&self.told.filters(self.bases)?, 10))
            .replace("@SOURCE@", AGGREGATED)
            .replace("@CLUSTER@", &indented(&self.told.cluster()?, 2)))
    }
}

impl IstioConfig {
    fn text(&self) -> Result<String, Error> {
        // A recent list that has a stream of its own holds everything.
        let objects = self.workloads.objects(&self.told.filters(0)?, &self.told.cluster()?)?;
        Ok(objects.replace("@FALLBACK@", &self.told.fallback()))
    }
}

impl Told {
    fn life(&self) -> Result<Life, Error> {
        match (self.fail, self.ttl) {
            (Fail::Stale, None) => Ok(Life::Unlimited),
            (Fail::Stale, Some(_)) => Err(Error::invalid("ttl", "none with --fail stale: nothing expires")),
            (_, ttl) => Ok(ttl.map_or(Life::AsSet, Life::Seconds)),
        }
    }

    /// The name of the filter that verifies tokens. Whoever goes on without lists needs the keys for that.
    fn tokens(&self) -> Result<String, Error> {
        let life = if self.fail == Fail::Open { Life::Unlimited } else { self.life()? };
        Ok(Name::Tokens(life).to_string())
    }

    /// The end of the sentence on what becomes of lists that are not confirmed any more.
    fn fallback(&self) -> String {
        let ttl = self.ttl.map_or("COUNTERSIGN_PROXY_TTL".to_owned(), |seconds| format!("{seconds}s"));
        match self.fail {
            Fail::Closed => format!("they expire after {ttl}, and then every token is refused"),
            Fail::Open => format!("they expire after {ttl}, and then tokens that were revoked pass"),
            Fail::Stale => "what they said last holds for ever".to_owned(),
        }
    }

    /// The list of the filters, up to the one that routes.
    fn filters(&self, bases: u16) -> Result<String, Error> {
        let life = self.life()?;
        let bases_of = (0..bases).map(|part| Name::Base(part, bases));
        let lists = bases_of.chain([Name::Recent(life), Name::Opened(life)]).map(|name| list(name, self.fail));
        Ok(FILTERS.replace("@TOKENS@", &self.tokens()?) + &lists.collect::<String>())
    }

    fn cluster(&self) -> Result<String, Error> {
        let endpoints: Result<Vec<String>, Error> = self.countersign.iter().map(|addr| endpoint(addr)).collect();
        Ok(CLUSTER.replace("@ENDPOINTS@", &endpoints?.join("\n")))
    }
}

fn endpoint(addr: &str) -> Result<String, Error> {
    let (host, port) = split("countersign", addr)?;
    let place = format!("{{ socket_address: {{ address: \"{host}\", port_value: {port} }} }}");
    Ok(format!("      - {{ endpoint: {{ address: {place} }} }}"))
}

/// The host and the port of an address.
fn split<'a>(setting: &'static str, addr: &'a str) -> Result<(&'a str, u16), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let found = addr.rsplit_once(':').and_then(|(host, port)| {
        let v6 =
            host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).filter(|v6| v6.parse::<Ipv6Addr>().is_ok());
        let is_name = !host.is_empty() && host.chars().all(plain);
        let digits = !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0)?;
        Some((v6.or_else(|| is_name.then_some(host))?, port))
    });
    found.ok_or_else(|| Error::invalid(setting, "HOST:PORT, or [IPV6]:PORT"))
}

/// The filter of a list. Until it has come, and when it has expired, what the mode says holds for whoever has a token.
fn list(name: Name, fail: Fail) -> String {
    let action = if fail == Fail::Open { "LOG" } else { "DENY" };
    LIST.replace("@NAME@", &name.to_string()).replace("@ACTION@", action)
}

/// The lines of a text, further to the right.
fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}", "")).collect::<Vec<_>>().join("\n")
}
