//! `countersign mesh`: configuration of proxies that verify tokens by themselves.

mod status;

use clap::{Args, Subcommand, ValueEnum};

use super::output::say;
use crate::{
    error::Error,
    xds::{Life, Name},
};

const ENVOY: &str = include_str!("envoy.yaml");

#[derive(Args)]
pub(super) struct Mesh {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Print the configuration of an Envoy that verifies tokens by itself, and is told of revocations
    EnvoyConfig(EnvoyConfig),
    /// Show the proxies that replicas tell of revocations, and what each has confirmed
    Status(status::Status),
}

#[derive(Args)]
struct EnvoyConfig {
    /// Addresses of Countersign's gRPC port: HOST:PORT, several with commas
    #[arg(long, default_value = "countersign:50051", value_delimiter = ',')]
    countersign: Vec<String>,

    /// Address of the application behind the proxy
    #[arg(long, default_value = "app:8080")]
    app: String,

    /// Address on which the proxy listens
    #[arg(long, default_value = "0.0.0.0:8000")]
    listen: String,

    /// Name of the proxy, by which Countersign's log calls it
    #[arg(long, default_value = "edge-1")]
    node: String,

    /// Behaviour of the proxy when its lists have expired
    #[arg(long, default_value = "closed")]
    fail: Fail,

    /// Seconds after which the proxy falls back to that, if it hears nothing; what the server is set to if this is not given
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=300))]
    ttl: Option<u16>,

    /// Lists that older revocations are spread over: one for each 50,000 that are to be expected
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    bases: u16,
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
            Action::Status(status) => status.run().await,
        }
    }
}

impl EnvoyConfig {
    fn text(&self) -> Result<String, Error> {
        let life = self.life()?;
        let bases = (0..self.bases).map(|part| Name::Base(part, self.bases));
        let names: Vec<Name> = bases.chain([Name::Recent(life), Name::Opened(life)]).collect();
        let lists: Vec<String> = names.into_iter().map(|name| list(name, self.fail)).collect();
        let endpoints: Result<Vec<String>, Error> = self.countersign.iter().map(|addr| endpoint(addr)).collect();
        let (listen, app) = (split("listen", &self.listen)?, split("app", &self.app)?);
        let ttl = self.ttl.map_or("COUNTERSIGN_PROXY_TTL".to_owned(), |seconds| format!("{seconds}s"));
        let fallback = match self.fail {
            Fail::Closed => format!("they expire after {ttl}, and then every token is refused"),
            Fail::Open => format!("they expire after {ttl}, and then tokens that were revoked pass"),
            Fail::Stale => "what they said last holds for ever".to_owned(),
        };
        if !self.node.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) || self.node.is_empty() {
            return Err(Error::invalid("node", "letters, digits and - . _"));
        }
        Ok(ENVOY
            .replace("@FALLBACK@", &fallback)
            .replace("@NODE@", &self.node)
            .replace("@TOKENS@", &Name::Tokens(life).to_string())
            .replace("@LISTEN_HOST@", listen.0)
            .replace("@LISTEN_PORT@", listen.1)
            .replace("@APP_HOST@", app.0)
            .replace("@APP_PORT@", app.1)
            .replace("@LISTS@", &lists.join("\n"))
            .replace("@ENDPOINTS@", &endpoints?.join("\n")))
    }
}

impl EnvoyConfig {
    fn life(&self) -> Result<Life, Error> {
        match (self.fail, self.ttl) {
            (Fail::Stale, None) => Ok(Life::Unlimited),
            (Fail::Stale, Some(_)) => Err(Error::invalid("ttl", "none with --fail stale: nothing expires")),
            (_, ttl) => Ok(ttl.map_or(Life::AsSet, Life::Seconds)),
        }
    }
}

fn endpoint(addr: &str) -> Result<String, Error> {
    let (host, port) = split("countersign", addr)?;
    let place = format!("{{ socket_address: {{ address: {host}, port_value: {port} }} }}");
    Ok(format!("        - {{ endpoint: {{ address: {place} }} }}"))
}

/// The host and the port of an address.
fn split<'a>(setting: &'static str, addr: &'a str) -> Result<(&'a str, &'a str), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let found = addr.rsplit_once(':').filter(|(host, port)| {
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    found.ok_or_else(|| Error::invalid(setting, "HOST:PORT"))
}

/// The filter of a list. Until it has come, and when it has expired, what the mode says holds for whoever has a token.
fn list(name: Name, fail: Fail) -> String {
    let kind = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
    let verdict = if fail == Fail::Open { "ALLOW" } else { "DENY" };
    let action = |name: &str, verdict: &str| {
        format!(
            "{{ action: {{ name: {name}, typed_config: {{ \"@type\": type.googleapis.com/envoy.config.rbac.v3.Action, \
             name: {name}, action: {verdict} }} }} }}"
        )
    };
    format!(
        r#"          - name: {name}
            config_discovery:
              type_urls: [{kind}]
              apply_default_config_without_warming: true
              config_source: {{ resource_api_version: V3, ads: {{}} }}
              default_config:
                "@type": {kind}
                matcher:
                  matcher_tree:
                    input: {{ name: key, typed_config: {{ "@type": type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.FilterStateInput, key: countersign.session }} }}
                    custom_match:
                      name: everybody
                      typed_config:
                        "@type": type.googleapis.com/xds.type.matcher.v3.ServerNameMatcher
                        domain_matchers:
                        - domains: ["*"]
                          on_match: {stale}
                  on_no_match: {passes}"#,
        stale = action("stale", verdict),
        passes = action("passes", "ALLOW"),
    )
}
