//! `countersign mesh istio-config`: the filters as patches of what istiod tells its proxies.

use clap::{Args, ValueEnum};

use crate::error::Error;

const ISTIO: &str = include_str!("istio.yaml");
/// The source of each list: a stream of its own, because the aggregated one is istiod's.
const OWN_STREAM: &str = "{ resource_api_version: V3, api_config_source: { api_type: DELTA_GRPC, transport_api_version: V3, \
    set_node_on_first_message_only: true, grpc_services: [{ envoy_grpc: { cluster_name: countersign, \
    retry_policy: { retry_back_off: { base_interval: 0.1s, max_interval: 1s } } } }] } }";

/// The proxies that are meant.
#[derive(Args)]
pub(super) struct Workloads {
    /// Namespace of the workloads
    #[arg(long, default_value = "default")]
    namespace: String,

    /// Label of the workloads: KEY=VALUE, several with commas
    #[arg(long, required = true, value_delimiter = ',')]
    selector: Vec<String>,

    /// Listeners that ask for tokens
    #[arg(long, default_value = "sidecar-inbound")]
    context: Context,
}

/// The place of a proxy, as an `EnvoyFilter` calls it.
#[derive(Clone, Copy, ValueEnum)]
enum Context {
    /// Sidecars, for what their workloads are asked
    SidecarInbound,
    /// Gateways, for all who come in
    Gateway,
}

impl Workloads {
    /// The objects, with these filters and this cluster of Countersign.
    pub(super) fn objects(&self, filters: &str, cluster: &str) -> Result<String, Error> {
        let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=63).contains(&self.namespace.len()) || !self.namespace.bytes().all(is_label) {
            return Err(Error::invalid("namespace", "1 to 63 lower-case letters, digits and -"));
        }
        let labels: Result<Vec<String>, Error> = self.selector.iter().map(|label| quoted(label)).collect();
        let context = match self.context {
            Context::SidecarInbound => "SIDECAR_INBOUND",
            Context::Gateway => "GATEWAY",
        };
        Ok(ISTIO
            .replace("@CLUSTER@", &patches(CLUSTER, cluster))
            .replace("@FILTERS@", &patches(FILTER, filters))
            .replace("@SOURCE@", OWN_STREAM)
            .replace("@NAMESPACE@", &self.namespace)
            .replace("@LABELS@", &labels?.join(", "))
            .replace("@CONTEXT@", context))
    }
}

/// A label as YAML, in which `true` or `1` would be no text.
fn quoted(label: &str) -> Result<String, Error> {
    let plain = |text: &str, more: &[u8]| {
        text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let found = label
        .split_once('=')
        .filter(|(key, value)| !key.is_empty() && plain(key, b"-._/") && value.len() <= 63 && plain(value, b"-._"));
    let (key, value) = found.ok_or_else(|| Error::invalid("selector", "KEY=VALUE, as app=shop"))?;
    Ok(format!("\"{key}\": \"{value}\""))
}

/// The head of the patch that adds a cluster.
const CLUSTER: &str = "  - applyTo: CLUSTER
    match: { context: @CONTEXT@ }
    patch:
      operation: ADD
      value:";
/// The head of a patch that adds a filter, after those that were added before.
const FILTER: &str = "  - applyTo: HTTP_FILTER
    match:
      context: @CONTEXT@
      listener:
        filterChain:
          filter: { name: envoy.filters.network.http_connection_manager, subFilter: { name: envoy.filters.http.router } }
    patch:
      operation: INSERT_BEFORE
      value:";

/// A patch with this head for each item of a list, in their order.
fn patches(head: &str, list: &str) -> String {
    let mut text = Vec::new();
    for line in list.lines() {
        if let Some(first) = line.strip_prefix("- ") {
            text.extend([head.to_owned(), format!("        {first}")]);
        } else if line.starts_with('#') {
            text.push(format!("  {line}"));
        } else {
            text.push(format!("      {line}"));
        }
    }
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_becomes_a_patch() {
        let text = patches("  - patch:", "# Why.\n- name: a\n  # Because.\n  b: c\n- name: d\n");
        let expected =
            "  # Why.\n  - patch:\n        name: a\n        # Because.\n        b: c\n  - patch:\n        name: d";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_label_is_a_text_whatever_yaml_takes_it_for() {
        assert_eq!(quoted("app.example/on=true").ok().as_deref(), Some("\"app.example/on\": \"true\""));
        for bad in ["", "app", "=a", "a=b c", "a=\"", "a=b=c", "a: b"] {
            assert!(quoted(bad).is_err(), "{bad}");
        }
    }
}
