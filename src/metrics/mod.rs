//! Metrics of a server, as Prometheus reads them. Each part of the service is given its own and records there. States are looked
//! at when somebody asks (`auth/observed.rs`).
//!
//! Labels are enums, so that no caller can make a new series.

mod calls;
mod database;
mod exposition;
mod findings;
mod gauges;
mod hashing;
mod label;
mod outcomes;
mod plain;
mod revocations;
mod shown;
mod window;

use prometheus::{IntGauge, Opts, Registry, TextEncoder};
use tokio::time::Instant;

pub use self::{
    calls::{Call, Calls},
    database::{Database, StatementOutcome},
    exposition::{Unreadable, read_metrics},
    findings::{Finding, Severity, findings},
    gauges::{Gauges, PoolState, ReplicaState},
    hashing::Hashing,
    label::Label,
    outcomes::{Decision, Login, Outcomes, Refresh, Verification},
    revocations::{FullLoad, Revocations},
    shown::{rate, time, whole},
    window::{MINUTE, Recent, SAMPLE_EVERY, Window},
};
use crate::error::Error;

/// The metrics of a server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    window: Window,
    /// Calls of RPCs.
    pub calls: Calls,
    /// Outcomes of logins, refreshes, verifications and decisions for proxies.
    pub outcomes: Outcomes,
    /// Password hashing.
    pub hashing: Hashing,
    /// The log of revocations.
    pub revocations: Revocations,
    /// The database.
    pub database: Database,
    /// States.
    pub gauges: Gauges,
}

impl Metrics {
    /// Metrics that have counted nothing yet.
    ///
    /// # Errors
    /// [`Error::Internal`] for names that contradict each other.
    pub fn new() -> Result<Self, Error> {
        Self::build().map_err(Error::internal)
    }

    fn build() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let info = Opts::new("countersign_build_info", "The version that runs: 1.").const_label("version", VERSION);
        let info = IntGauge::with_opts(info)?;
        info.set(1);
        registry.register(Box::new(info))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            calls: Calls::new(&registry)?,
            outcomes: Outcomes::new(&registry)?,
            hashing: Hashing::new(&registry)?,
            revocations: Revocations::new(&registry)?,
            database: Database::new(&registry)?,
            gauges: Gauges::new(&registry)?,
            registry,
            window: Window::default(),
        })
    }

    /// Keeps what they are now, for [`Metrics::recent`].
    pub fn sample(&self) {
        self.window.push(Instant::now(), self.registry.gather());
    }

    /// The metrics as they are now, beside what they were up to a minute ago.
    pub fn recent(&self) -> Recent {
        self.window.until(Instant::now(), self.registry.gather())
    }

    /// All of them in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    /// [`Error::Internal`] for what cannot be written.
    pub fn render(&self) -> Result<String, Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather()).map_err(Error::internal)
    }
}

/// The version of this package.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_exposed_from_the_start_with_its_meaning() {
        let text = Metrics::new().expect("metrics").render().expect("text");
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for name in &names {
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            let is_standard =
                ["grpc_server_", "process_", "countersign_"].iter().any(|prefix| name.starts_with(prefix));
            assert!(is_standard, "{name}");
        }
        for name in ["grpc_server_handled_total", "countersign_logins_total", "process_resident_memory_bytes"] {
            assert!(names.contains(&name), "{name} of {names:?}");
        }
    }

    #[test]
    fn two_servers_of_one_process_count_apart() {
        let (one, other) = (Metrics::new().expect("metrics"), Metrics::new().expect("metrics"));
        one.outcomes.logins.count(Login::Ok);
        let counted = "countersign_logins_total{result=\"ok\"} 1";
        assert!(one.render().expect("text").contains(counted) && !other.render().expect("text").contains(counted));
    }
}
