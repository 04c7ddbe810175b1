//! Calls of RPCs, by the names that dashboards of gRPC know (go-grpc-prometheus): each is counted when it begins, and when it ends,
//! however it ends.

use std::sync::{Arc, OnceLock};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use tokio::time::Instant;

use super::plain::SECONDS;
use crate::domain::rpc::{Rpc, RpcKind};

/// The names of gRPC's codes, each at its number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const CANCELED: usize = 1;
const UNKNOWN: usize = 2;
const INTERNAL: usize = 13;

/// RPCs that are not of the contract. The last is for all that nobody has.
const OTHERS: [(&str, RpcKind); 5] = [
    ("/grpc.health.v1.Health/Check", RpcKind::Unary),
    ("/grpc.health.v1.Health/Watch", RpcKind::ServerStream),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", RpcKind::BidiStream),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", RpcKind::BidiStream),
    ("/unknown/unknown", RpcKind::Unary),
];

/// Calls of RPCs. All clones are one.
#[derive(Clone, Debug)]
pub struct Calls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// RPCs of the contract, each at its place, and then the others.
    methods: Vec<Method>,
    handled: IntCounterVec,
}

#[derive(Debug)]
struct Method {
    labels: [&'static str; 3],
    streams: bool,
    started: IntCounter,
    seconds: Histogram,
    /// Counters by code; that of OK is there from the start.
    handled: [OnceLock<IntCounter>; CODES.len()],
}

/// A call that has begun. One that is dropped before it ends was cancelled.
#[derive(Debug)]
pub struct Call {
    calls: Calls,
    place: usize,
    begun: Instant,
    ended: bool,
}

impl Calls {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let labels = ["grpc_type", "grpc_service", "grpc_method"];
        let started = Opts::new("grpc_server_started_total", "Calls that have begun.");
        let started = IntCounterVec::new(started, &labels)?;
        let handled = Opts::new("grpc_server_handled_total", "Calls that have ended, whatever their answer.");
        let handled = IntCounterVec::new(handled, &[labels[0], labels[1], labels[2], "grpc_code"])?;
        let seconds = HistogramOpts::new("grpc_server_handling_seconds", "Time from a call's beginning to its end.");
        let seconds = HistogramVec::new(seconds.buckets(SECONDS.to_vec()), &labels)?;
        registry.register(Box::new(started.clone()))?;
        registry.register(Box::new(handled.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        let method = |(path, kind): (&'static str, RpcKind)| {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
            let labels = [name(kind), service, method];
            let of_codes: [OnceLock<IntCounter>; CODES.len()] = std::array::from_fn(|_| OnceLock::new());
            of_codes[0].get_or_init(|| handled.with_label_values(&[labels[0], labels[1], labels[2], CODES[0]]));
            Ok(Method {
                labels,
                streams: matches!(kind, RpcKind::ServerStream | RpcKind::BidiStream),
                started: started.get_metric_with_label_values(&labels)?,
                seconds: seconds.get_metric_with_label_values(&labels)?,
                handled: of_codes,
            })
        };
        let all = Rpc::ALL.iter().map(|rpc| (rpc.path(), rpc.kind())).chain(OTHERS);
        let methods = all.map(method).collect::<prometheus::Result<_>>()?;
        Ok(Self(Arc::new(Inner { methods, handled })))
    }

    /// Counts a call that begins: of `rpc`, or of another one by its path.
    pub fn begin(&self, rpc: Option<Rpc>, path: &str) -> Call {
        let other = || OTHERS.iter().position(|(known, _)| *known == path).unwrap_or(OTHERS.len() - 1);
        let place = rpc.map_or_else(|| Rpc::ALL.len() + other(), |rpc| rpc as usize);
        if let Some(method) = self.0.methods.get(place) {
            method.started.inc();
        }
        Call { calls: self.clone(), place, begun: Instant::now(), ended: false }
    }
}

impl Calls {
    /// The number of calls of an RPC that have begun and not ended.
    pub fn under_way(&self, rpc: Rpc) -> u64 {
        let Some(Method { started, handled, .. }) = self.0.methods.get(rpc as usize) else {
            return 0;
        };
        // Those that have ended first: one that begins meanwhile is no loss.
        let ended: u64 = handled.iter().filter_map(OnceLock::get).map(IntCounter::get).sum();
        started.get().saturating_sub(ended)
    }
}

impl Call {
    /// True if its answer goes on after it has begun.
    pub fn streams(&self) -> bool {
        self.calls.0.methods.get(self.place).is_some_and(|method| method.streams)
    }

    /// Counts the end, with the number of its code.
    pub fn end(mut self, code: i32) {
        self.ended = true;
        self.record(usize::try_from(code).unwrap_or(UNKNOWN));
    }

    fn record(&self, code: usize) {
        let Inner { methods, handled } = &*self.calls.0;
        let Some(Method { labels, seconds, handled: known, .. }) = methods.get(self.place) else {
            return;
        };
        seconds.observe(self.begun.elapsed().as_secs_f64());
        let code = code.min(CODES.len() - 1);
        if let Some((counter, name)) = known.get(code).zip(CODES.get(code)) {
            let [kind, service, method] = *labels;
            counter.get_or_init(|| handled.with_label_values(&[kind, service, method, *name])).inc();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.record(if std::thread::panicking() { INTERNAL } else { CANCELED });
        }
    }
}

/// The value of label `grpc_type`.
fn name(kind: RpcKind) -> &'static str {
    match kind {
        RpcKind::Unary => "unary",
        RpcKind::ClientStream => "client_stream",
        RpcKind::ServerStream => "server_stream",
        RpcKind::BidiStream => "bidi_stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(registry: &Registry, line: &str) -> bool {
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        text.lines().any(|l| l == line)
    }

    #[test]
    fn a_call_is_counted_by_its_code_and_as_cancelled_when_it_is_dropped() {
        let registry = Registry::new();
        let calls = Calls::new(&registry).expect("metrics");
        calls.begin(Some(Rpc::Login), "").end(16);
        drop(calls.begin(Some(Rpc::Login), ""));
        calls.begin(None, "/grpc.health.v1.Health/Check").end(0);
        calls.begin(None, "/made.up/Path").end(12);
        let login = r#"grpc_method="Login",grpc_service="countersign.v1.AuthService",grpc_type="unary""#;
        let code = |code: &str, of: &str| format!(r#"grpc_server_handled_total{{grpc_code="{code}",{of}}} 1"#);
        let other = |service: &str, method: &str| {
            format!(r#"grpc_method="{method}",grpc_service="{service}",grpc_type="unary""#)
        };
        for line in [
            format!("grpc_server_started_total{{{login}}} 2"),
            code("Unauthenticated", login),
            code("Canceled", login),
            code("OK", &other("grpc.health.v1.Health", "Check")),
            code("Unimplemented", &other("unknown", "unknown")),
            format!("grpc_server_handling_seconds_count{{{login}}} 2"),
        ] {
            assert!(counted(&registry, &line), "{line}");
        }
    }

    #[test]
    fn each_rpc_stands_at_its_place() {
        for (place, rpc) in Rpc::ALL.iter().enumerate() {
            assert_eq!(*rpc as usize, place);
        }
    }
}
