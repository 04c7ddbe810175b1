//! A receiver of OTLP, with the service and the messages of its specification.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, async_trait,
    codec::CompressionEncoding,
    metadata::MetadataMap,
    transport::{Certificate as Pem, Identity, Server, ServerTlsConfig},
};

use crate::support::{Authority, Certificate};

/// A span as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub kind: i32,
    pub state: String,
    pub failed: bool,
    pub events: Vec<String>,
    pub attributes: BTreeMap<String, String>,
    /// The attributes of the process.
    pub resource: BTreeMap<String, String>,
    /// The metadata of the call that brought it.
    pub metadata: MetadataMap,
}

/// A receiver that keeps what comes.
pub(crate) struct Receiver {
    pub addr: String,
    refusing: Arc<AtomicBool>,
    spans: UnboundedReceiver<Received>,
    seen: Vec<Received>,
}

#[derive(Clone)]
struct Service {
    refusing: Arc<AtomicBool>,
    spans: UnboundedSender<Received>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::serve(Server::builder()).await
    }

    /// One that speaks TLS, to clients with a certificate of the same authority.
    pub(crate) async fn start_tls(authority: &Authority, own: &Certificate) -> Self {
        let identity = Identity::from_pem(&own.pem, &own.key);
        let tls = ServerTlsConfig::new().identity(identity).client_ca_root(Pem::from_pem(&authority.pem));
        Self::serve(Server::builder().tls_config(tls).expect("TLS")).await
    }

    async fn serve(mut server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address").to_string();
        let (sender, spans) = unbounded_channel();
        let refusing = Arc::new(AtomicBool::new(false));
        let service = TraceServiceServer::new(Service { refusing: Arc::clone(&refusing), spans: sender })
            .accept_compressed(CompressionEncoding::Gzip);
        tokio::spawn(server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        Self { addr, refusing, spans, seen: Vec::new() }
    }

    /// Refuses what comes from now on, or takes it again.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.refusing.store(refusing, Ordering::SeqCst);
    }

    /// The span of this name in this trace, once it is there. Of a trace, children come before their parents.
    pub(crate) async fn span(&mut self, trace: &str, name: &str) -> Received {
        self.find(|span| span.trace == trace && span.name == name).await
    }

    /// A span that is so, once it is there.
    pub(crate) async fn find(&mut self, is_it: impl Fn(&Received) -> bool) -> Received {
        let come = async {
            loop {
                if let Some(span) = self.seen.iter().find(|span| is_it(span)) {
                    return span.clone();
                }
                self.seen.push(self.spans.recv().await.expect("a span"));
            }
        };
        timeout(Duration::from_secs(60), come).await.unwrap_or_else(|_| panic!("no such span among {:#?}", self.seen))
    }

    /// The spans below this one, as far as they have come.
    pub(crate) fn below(&self, span: &Received) -> Vec<&Received> {
        self.seen.iter().filter(|below| below.trace == span.trace && below.parent == span.id).collect()
    }

    /// All that has come.
    pub(crate) fn seen(&self) -> &[Received] {
        &self.seen
    }
}

#[async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if self.refusing.load(Ordering::SeqCst) {
            return Err(Status::permission_denied("not now"));
        }
        let metadata = request.metadata().clone();
        for of_process in request.into_inner().resource_spans {
            let resource = text(of_process.resource.unwrap_or_default().attributes);
            for span in of_process.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
                drop(self.spans.send(received(span, &resource, &metadata)));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn received(span: Span, resource: &BTreeMap<String, String>, metadata: &MetadataMap) -> Received {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    Received {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        state: span.trace_state,
        failed: span.status.is_some_and(|status| status.code == StatusCode::Error as i32),
        events: span.events.into_iter().map(|event| event.name).collect(),
        attributes: text(span.attributes),
        resource: resource.clone(),
        metadata: metadata.clone(),
        name: span.name,
    }
}

fn text(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let value = |of: KeyValue| match of.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    };
    attributes.into_iter().map(|of| (of.key.clone(), value(of))).collect()
}
