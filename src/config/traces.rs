//! Traces, by the variables that all programs with OpenTelemetry have in common (OpenTelemetry, Environment Variable Specification
//! and OTLP Exporter Configuration). What the SDK reads by itself is only checked here: it passes over what it cannot read.

use std::{env, path::Path, time::Duration};

use http::Uri;
use zeroize::Zeroizing;

use super::{file::read_file, violations::Violations};
use crate::domain::trace::{ClientCertificate, TracePolicy};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const DEFAULT_ENDPOINT: &str = "http://localhost:4317";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
/// Variables of the SDK that are numbers.
const NUMBERS: [&str; 4] = [
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
];

/// The choices of traces in the variables of this process; None where nobody wants traces.
pub fn trace_policy(violations: &mut Violations) -> Option<TracePolicy> {
    read(&|variable| env::var(variable).ok(), violations)
}

fn read(variable: &dyn Fn(&str) -> Option<String>, violations: &mut Violations) -> Option<TracePolicy> {
    let read = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let is_true = |name: &str| read(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let settings = Settings { read: &read };
    let (exporter, endpoint) = (read("OTEL_TRACES_EXPORTER"), settings.exporter(ENDPOINT));
    match exporter.as_deref() {
        None if endpoint.is_none() => return None,
        Some("none") => return None,
        _ if is_true("OTEL_SDK_DISABLED") => return None,
        None | Some("otlp") => {}
        Some(_) => violations.require(false, "OTEL_TRACES_EXPORTER", "otlp or none"),
    }
    settings.check_protocol(violations);
    settings.check_sampler(violations);
    for name in NUMBERS {
        let is_number = read(name).is_none_or(|value| value.parse::<u32>().is_ok_and(|number| number > 0));
        violations.require(is_number, name, "a whole number above 0");
    }
    let endpoint = with_scheme(endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()), || {
        settings.exporter("OTEL_EXPORTER_OTLP_INSECURE").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    });
    violations.require(
        is_receiver(&endpoint),
        ENDPOINT,
        "a URL such as http://collector:4317, without a user; what authenticates goes to OTEL_EXPORTER_OTLP_HEADERS",
    );
    Some(TracePolicy {
        endpoint,
        timeout: settings.timeout(violations),
        gzip: settings.gzip(violations),
        ca: settings.file("OTEL_EXPORTER_OTLP_CERTIFICATE", violations),
        identity: settings.identity(violations),
    })
}

/// The variables that are not empty.
struct Settings<'v> {
    read: &'v dyn Fn(&str) -> Option<String>,
}

impl Settings<'_> {
    /// A setting of exporters: that of traces alone, or else that of all.
    fn exporter(&self, name: &str) -> Option<String> {
        let of_traces = name.replace("_OTLP_", "_OTLP_TRACES_");
        (self.read)(&of_traces).or_else(|| (self.read)(name))
    }

    fn check_protocol(&self, violations: &mut Violations) {
        let protocol = self.exporter("OTEL_EXPORTER_OTLP_PROTOCOL");
        let is_grpc = protocol.is_none_or(|protocol| protocol == "grpc");
        violations.require(is_grpc, "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc: receivers listen for it on port 4317");
    }

    fn check_sampler(&self, violations: &mut Violations) {
        let Some(sampler) = (self.read)("OTEL_TRACES_SAMPLER") else {
            return;
        };
        violations.require(
            SAMPLERS.contains(&sampler.as_str()),
            "OTEL_TRACES_SAMPLER",
            format!("one of {}", SAMPLERS.join(", ")),
        );
        let share = (self.read)("OTEL_TRACES_SAMPLER_ARG").and_then(|share| share.parse::<f64>().ok());
        let has_share = share.is_some_and(|share| (0.0..=1.0).contains(&share));
        violations.require(
            !sampler.ends_with("traceidratio") || has_share,
            "OTEL_TRACES_SAMPLER_ARG",
            "a share from 0 to 1, such as 0.01",
        );
    }

    fn timeout(&self, violations: &mut Violations) -> Duration {
        let Some(given) = self.exporter("OTEL_EXPORTER_OTLP_TIMEOUT") else {
            return DEFAULT_TIMEOUT;
        };
        let millis = given.parse::<u32>().ok().filter(|millis| *millis > 0);
        violations.require(millis.is_some(), "OTEL_EXPORTER_OTLP_TIMEOUT", "milliseconds, such as 10000");
        millis.map_or(DEFAULT_TIMEOUT, |millis| Duration::from_millis(millis.into()))
    }

    fn gzip(&self, violations: &mut Violations) -> bool {
        let compression = self.exporter("OTEL_EXPORTER_OTLP_COMPRESSION");
        let is_known = compression.as_deref().is_none_or(|name| ["gzip", "none"].contains(&name));
        violations.require(is_known, "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip or none");
        compression.is_some_and(|name| name == "gzip")
    }

    fn file(&self, name: &'static str, violations: &mut Violations) -> Option<Zeroizing<String>> {
        let path = self.exporter(name)?;
        let content = read_file(name, Path::new(&path));
        let why = content.as_ref().err().map(ToString::to_string).unwrap_or_default();
        violations.require(content.is_ok(), name, why.trim_start_matches(name).trim_start_matches(": "));
        content.ok()
    }

    fn identity(&self, violations: &mut Violations) -> Option<ClientCertificate> {
        let chain = self.file("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", violations);
        let key = self.file("OTEL_EXPORTER_OTLP_CLIENT_KEY", violations);
        violations.require(
            chain.is_some() == key.is_some(),
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "a certificate and its key are given together",
        );
        Some(ClientCertificate { chain: chain?, key: key? })
    }
}

/// The endpoint as a URL. One that says nothing of TLS is reached by it, unless that is insecure on purpose.
fn with_scheme(endpoint: String, is_insecure: impl FnOnce() -> bool) -> String {
    if endpoint.contains("://") {
        endpoint
    } else {
        format!("{}://{endpoint}", if is_insecure() { "http" } else { "https" })
    }
}

fn is_receiver(endpoint: &str) -> bool {
    endpoint.parse::<Uri>().is_ok_and(|uri| {
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        matches!(uri.scheme_str(), Some("http" | "https")) && !authority.is_empty() && !authority.contains('@')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::checked, error::Error};

    fn policy(variables: &[(&str, &str)]) -> Result<Option<TracePolicy>, Error> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        checked(|violations| read(&variable, violations))
    }

    #[test]
    fn there_are_traces_where_somebody_receives_them() {
        for (variables, endpoint) in [
            (&[][..], None),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None),
            (&[("OTEL_SERVICE_NAME", "auth"), ("OTEL_TRACES_SAMPLER", "no such")], None),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], Some("http://localhost:4317")),
            (&[(ENDPOINT, "http://c:1"), ("OTEL_TRACES_EXPORTER", "none")], None),
            (&[(ENDPOINT, "http://c:1"), ("OTEL_SDK_DISABLED", "true")], None),
            (&[(ENDPOINT, "http://c:1"), ("OTEL_SDK_DISABLED", "")], Some("http://c:1")),
            (&[(ENDPOINT, "http://c:1"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t:2")], Some("https://t:2")),
            (&[(ENDPOINT, "collector:4317")], Some("https://collector:4317")),
            (&[(ENDPOINT, "collector:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")], Some("http://collector:4317")),
        ] {
            let policy = policy(variables).expect("valid");
            assert_eq!(policy.map(|policy| policy.endpoint).as_deref(), endpoint, "{variables:?}");
        }
    }

    #[test]
    fn what_the_sdk_would_pass_over_is_an_error_that_names_the_variable() {
        for (variable, bad) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///run/collector"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector:4317"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/no/such/file"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ] {
            let Err(Error::InvalidArgument(violations)) = policy(&[(variable, bad), (ENDPOINT, "http://c:1")]) else {
                panic!("{variable}={bad} was accepted");
            };
            assert!(violations.iter().any(|violation| violation.field == variable), "{variable}: {violations:?}");
            assert!(violations.iter().all(|violation| !violation.description.contains("secret")), "{violations:?}");
        }
        let share = |share| policy(&[(ENDPOINT, "http://c:1"), ("OTEL_TRACES_SAMPLER", "traceidratio"), share]);
        assert!(share(("OTEL_TRACES_SAMPLER_ARG", "0.25")).is_ok());
        assert!(share(("OTEL_TRACES_SAMPLER_ARG", "25%")).is_err());
        assert!(share(("", "")).is_err());
    }
}
