//! The span of a call, as its server sees it, and the context in which its work is done.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{
        FutureExt as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};
use opentelemetry_semantic_conventions::attribute::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE, RPC_METHOD, RPC_METHOD_ORIGINAL,
    RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME,
};

use super::tracer::TRACER;
use crate::domain::trace::TraceParent;

/// The reason of an answer that says no, as `ErrorInfo` has it.
const REASON: &str = "countersign.reason";
/// The caller, as the policy of callers names it.
const CALLER: &str = "countersign.caller";

/// The names of gRPC's codes, each at its number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Codes that say that the server has failed (semantic conventions, gRPC, server span status).
const FAILURES: [&str; 6] = ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];

/// The span of a call. All clones are one.
#[derive(Clone)]
pub struct CallSpan(Arc<Inner>);

struct Inner {
    /// The span until it is known whose trace it belongs to.
    unplaced: Mutex<Option<SpanBuilder>>,
    context: OnceLock<Context>,
}

/// The ids of a span, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The trace.
    pub trace: String,
    /// The span.
    pub span: String,
}

/// Does work as part of the trace that the caller of this works for, in a task of its own.
pub fn in_current_trace<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work.with_current_context()
}

impl CallSpan {
    /// Begins the span of a call of gRPC at `path`, if there are traces. The path of a `known` method is its name. The span is
    /// placed in a trace by [`Self::place`].
    pub fn begin_rpc(known: Option<&'static str>, path: &str) -> Option<Self> {
        Self::begin(|| {
            let method = known.map(|path| path.trim_start_matches('/'));
            let mut attributes =
                vec![KeyValue::new(RPC_SYSTEM_NAME, "grpc"), KeyValue::new(RPC_METHOD, method.unwrap_or("_OTHER"))];
            if method.is_none() {
                attributes.push(KeyValue::new(RPC_METHOD_ORIGINAL, path.trim_start_matches('/').to_owned()));
            }
            SpanBuilder::from_name(method.unwrap_or("grpc")).with_attributes(attributes)
        })
    }

    /// Begins the span of a request of HTTP for this route, if there are traces. It is placed in a trace by [`Self::place`].
    pub fn begin_http(method: &str, route: &str) -> Option<Self> {
        Self::begin(|| {
            let attributes = vec![
                KeyValue::new(HTTP_REQUEST_METHOD, method.to_owned()),
                KeyValue::new(HTTP_ROUTE, route.to_owned()),
            ];
            SpanBuilder::from_name(format!("{method} {route}")).with_attributes(attributes)
        })
    }

    fn begin(builder: impl FnOnce() -> SpanBuilder) -> Option<Self> {
        TRACER.get()?;
        let builder = builder().with_kind(SpanKind::Server).with_start_time(opentelemetry::time::now());
        Some(Self(Arc::new(Inner { unplaced: Mutex::new(Some(builder)), context: OnceLock::new() })))
    }

    /// Places the span below that of the caller, or in a trace of its own. Once it has its place, it keeps it.
    pub fn place(&self, parent: Option<TraceParent<'_>>, state: Option<&str>) {
        self.context_below(|| parent.and_then(|parent| remote(parent, state)));
    }

    fn context(&self) -> &Context {
        self.context_below(|| None)
    }

    fn context_below(&self, parent: impl FnOnce() -> Option<SpanContext>) -> &Context {
        self.0.context.get_or_init(|| {
            let builder = self.0.unplaced.lock().unwrap_or_else(PoisonError::into_inner).take();
            let parent = parent().map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
            match builder.zip(TRACER.get()) {
                Some((builder, tracer)) => Context::new().with_span(tracer.build_with_context(builder, &parent)),
                None => parent,
            }
        })
    }

    /// The ids, if the trace is kept.
    pub fn ids(&self) -> Option<Ids> {
        let context = self.context();
        let span = context.span();
        let known = span.span_context();
        known.is_sampled().then(|| Ids { trace: known.trace_id().to_string(), span: known.span_id().to_string() })
    }

    /// The header `traceresponse` by which a caller finds the trace (W3C Trace Context, level 3).
    pub fn traceresponse(&self) -> Option<String> {
        self.ids().map(|Ids { trace, span }| format!("00-{trace}-{span}-01"))
    }

    /// Does the work of the call: what it begins are spans below this one.
    pub fn carry<F: Future>(&self, work: F) -> impl Future<Output = F::Output> {
        work.with_context(self.context().clone())
    }

    /// Notes who has called.
    pub fn caller(&self, caller: &impl fmt::Display) {
        self.attribute(|| KeyValue::new(CALLER, caller.to_string()));
    }

    /// Notes the reason for which the answer says no.
    pub fn reason(&self, reason: &str) {
        self.attribute(|| KeyValue::new(REASON, reason.to_owned()));
    }

    fn attribute(&self, attribute: impl FnOnce() -> KeyValue) {
        let context = self.context();
        let span = context.span();
        if span.span_context().is_sampled() {
            span.set_attribute(attribute());
        }
    }

    /// Ends the span of a call of gRPC, with the number of its code.
    pub fn end_rpc(&self, code: i32) {
        let name = usize::try_from(code).ok().and_then(|code| CODES.get(code)).copied().unwrap_or("UNKNOWN");
        let context = self.context();
        let span = context.span();
        span.set_attribute(KeyValue::new(RPC_RESPONSE_STATUS_CODE, name));
        if FAILURES.contains(&name) {
            span.set_attribute(KeyValue::new(ERROR_TYPE, name));
            span.set_status(Status::error(name));
        }
        span.end();
    }

    /// Ends the span of a request of HTTP, with the status of its answer.
    pub fn end_http(&self, status: u16) {
        let context = self.context();
        let span = context.span();
        span.set_attribute(KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status)));
        if status >= 500 {
            span.set_attribute(KeyValue::new(ERROR_TYPE, status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

fn remote(parent: TraceParent<'_>, state: Option<&str>) -> Option<SpanContext> {
    let (trace, span) = (TraceId::from_hex(parent.trace_id).ok()?, SpanId::from_hex(parent.parent_id).ok()?);
    let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    // A state that cannot be read is as if there were none (section 3.3).
    let state = state.and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
    Some(SpanContext::new(trace, span, flags, true, state))
}

impl fmt::Debug for CallSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallSpan(..)")
    }
}
