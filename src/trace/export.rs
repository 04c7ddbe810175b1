//! The way of spans to the receiver: OTLP over gRPC, in batches, by a thread of its own. Spans that cannot be sent are lost, as the
//! log says; no call waits for them.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use opentelemetry::{InstrumentationScope, Key, KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    Compression, WithExportConfig as _, WithTonicConfig as _,
    tonic_types::transport::{Certificate, ClientTlsConfig, Identity},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    resource::EnvResourceDetector,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use opentelemetry_semantic_conventions::{
    SCHEMA_URL,
    resource::{SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION},
};
use tokio::{sync::oneshot, time::Instant};

use super::tracer::TRACER;
use crate::{domain::trace::TracePolicy, error::Error};

/// Longest time that the end of a process waits for the last spans to be sent.
const FAREWELL: Duration = Duration::from_secs(3);
/// Time between two lines of the log about spans that are lost.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The traces of this process.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

/// Makes spans from now on, and sends them as the policy says. `instance` is the name of this replica.
///
/// # Errors
/// [`Error::InvalidArgument`] for certificates that cannot be read; [`Error::Internal`] where there are traces already.
pub fn start(policy: TracePolicy, instance: &str) -> Result<Traces, Error> {
    let endpoint = policy.endpoint.clone();
    let exporter = Exporter::new(policy)?;
    let provider = SdkTracerProvider::builder().with_resource(resource(instance)).with_batch_exporter(exporter).build();
    let scope = InstrumentationScope::builder("countersign")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(SCHEMA_URL)
        .build();
    TRACER.set(provider.tracer_with_scope(scope)).map_err(|_| Error::internal("there are traces already"))?;
    tracing::info!(endpoint, "sending traces");
    Ok(Traces(provider))
}

impl Traces {
    /// Sends what is left, for a few seconds at most. There are no spans any more then.
    pub async fn finish(self) {
        let (finished, wait) = oneshot::channel();
        // It blocks.
        let finish = move || drop(finished.send(self.0.shutdown_with_timeout(FAREWELL)));
        let started = thread::Builder::new().name("last-spans".to_owned()).spawn(finish).is_ok();
        if started && let Ok(Err(error)) = wait.await {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// The attributes of this process. Those in the variables count more.
fn resource(instance: &str) -> Resource {
    let of_variables = Resource::builder().build();
    let name = of_variables.get(&Key::new(SERVICE_NAME)).map(|name| name.to_string());
    let name = name.filter(|name| !name.starts_with("unknown_service")).unwrap_or_else(|| "countersign".to_owned());
    Resource::builder()
        .with_attribute(KeyValue::new(SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(SERVICE_INSTANCE_ID, instance.to_owned()))
        .with_detector(Box::new(EnvResourceDetector::new()))
        .with_service_name(name)
        .build()
}

/// Sends spans, and says in the log when that fails, and when it works again.
#[derive(Debug)]
struct Exporter {
    otlp: opentelemetry_otlp::SpanExporter,
    endpoint: String,
    failing: AtomicBool,
    losses: Mutex<Losses>,
}

/// Spans that were lost and not said in the log yet.
#[derive(Debug, Default)]
struct Losses {
    spans: usize,
    said: Option<Instant>,
}

impl Exporter {
    fn new(policy: TracePolicy) -> Result<Self, Error> {
        let TracePolicy { endpoint, timeout, gzip, ca, identity } = policy;
        let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic();
        let mut builder = builder.with_endpoint(&endpoint).with_timeout(timeout);
        if gzip {
            builder = builder.with_compression(Compression::Gzip);
        }
        if endpoint.starts_with("https:") {
            let mut tls = match ca {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem.as_bytes())),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            if let Some(own) = identity {
                tls = tls.identity(Identity::from_pem(own.chain.as_bytes(), own.key.as_bytes()));
            }
            builder = builder.with_tls_config(tls);
        }
        let refused = |error| Error::invalid("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{endpoint}: {error}"));
        let otlp = builder.build().map_err(refused)?;
        Ok(Self { otlp, endpoint, failing: AtomicBool::new(false), losses: Mutex::default() })
    }

    fn tell(&self, result: &OTelSdkResult, spans: usize) {
        let failed = result.is_err();
        let failed_before = self.failing.swap(failed, Ordering::Relaxed);
        let Err(error) = result else {
            if failed_before {
                tracing::info!(endpoint = self.endpoint, "traces can be sent again");
            }
            return;
        };
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.spans += spans;
        if !failed_before || losses.said.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            losses.said = Some(Instant::now());
            let lost = std::mem::take(&mut losses.spans);
            tracing::warn!(endpoint = self.endpoint, lost, %error, "traces cannot be sent: spans are lost");
        }
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.otlp.export(batch).await;
        self.tell(&result, spans);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.otlp.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
