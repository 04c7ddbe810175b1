//! The names of a call, by which what is logged and written of it is found: `x-request-id`, and its trace (W3C Trace Context). They
//! are the caller's; where there are traces, the trace may begin here.

use std::future::Future;

use http::{HeaderMap, HeaderName};
use tracing::{Instrument as _, Span, span::Entered};

use crate::{
    audit::call,
    domain::{audit::CallNames, trace::TraceParent},
    trace::{CallSpan, Ids},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Characters of a request id; a longer one is none.
const MAX_REQUEST_ID: usize = 128;

/// The names in a request, as they came.
#[derive(Clone, Debug, Default)]
pub struct Names<'r> {
    /// The header `x-request-id`.
    pub request_id: Option<&'r str>,
    /// The header `traceparent`, if it is one.
    pub parent: Option<TraceParent<'r>>,
    /// All headers `tracestate`, as one.
    pub state: Option<String>,
}

/// A call that has names.
#[derive(Debug)]
pub struct NamedCall {
    /// The span with which everything is logged.
    log: Span,
    names: CallNames,
    trace: Option<CallSpan>,
}

impl<'r> Names<'r> {
    /// The names in these headers.
    pub fn of(headers: &'r HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let parent = text(TRACEPARENT).and_then(TraceParent::parse);
        // Rare, and not read before it is known that somebody wants it.
        let state = parent.filter(|_| headers.contains_key(TRACESTATE)).map(|_| {
            let all = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok());
            all.collect::<Vec<_>>().join(",")
        });
        Self { request_id: text(REQUEST_ID), parent, state }
    }
}

impl NamedCall {
    /// The call with these names, whose span is this one; None for one without any.
    pub fn new(given: &Names<'_>, trace: Option<CallSpan>) -> Option<Self> {
        let request_id = given.request_id.filter(|id| is_request_id(id));
        let begun = trace.as_ref().and_then(|span| {
            span.place(given.parent, given.state.as_deref());
            span.ids()
        });
        let (parent_id, trace_of_caller) = given.parent.map(|parent| (parent.parent_id, parent.trace_id)).unzip();
        let (trace_id, span_id) = match &begun {
            Some(Ids { trace, span }) => (Some(trace.as_str()), Some(span.as_str())),
            None => (trace_of_caller, None),
        };
        if request_id.is_none() && trace_id.is_none() {
            return None;
        }
        // At this level it is there whatever else is logged.
        let log = tracing::error_span!("call", request_id, trace_id, span_id, parent_id);
        let names = CallNames { request_id: request_id.map(str::to_owned), trace_id: trace_id.map(str::to_owned) };
        Some(Self { log, names, trace: trace.filter(|_| begun.is_some()) })
    }

    /// The call with these names, if the task works for a call that has none yet.
    pub fn unless_named(given: &Names<'_>) -> Option<Self> {
        if call::names() == CallNames::default() { Self::new(given, None) } else { None }
    }

    /// Logs as part of the call until the guard is dropped.
    pub fn enter(&self) -> Entered<'_> {
        self.log.enter()
    }

    /// Does the work of the call: what it logs and writes has the names, and what takes time is part of the trace.
    pub fn carry<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        let work = call::named(self.names, work).instrument(self.log);
        async move {
            match self.trace {
                Some(span) => span.carry(work).await,
                None => work.await,
            }
        }
    }
}

/// True for visible characters without quotes, so that no line of a log is forged.
fn is_request_id(id: &str) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_cannot_forge_a_line_of_a_log() {
        for (id, valid) in [
            ("4711-abc/DEF=", true),
            ("", false),
            ("two words", false),
            ("a\"b", false),
            ("line\nline", false),
            (&"x".repeat(129), false),
        ] {
            assert_eq!(is_request_id(id), valid, "{id}");
        }
        assert!(NamedCall::new(&Names::default(), None).is_none());
    }

    #[test]
    fn states_of_several_headers_are_one() {
        let mut headers = HeaderMap::new();
        headers.append(TRACESTATE, "a=1".parse().expect("a value"));
        headers.append(TRACESTATE, "b=2".parse().expect("a value"));
        assert_eq!(Names::of(&headers).state, None, "of no trace");
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert(TRACEPARENT, parent.parse().expect("a value"));
        assert_eq!(Names::of(&headers).state.as_deref(), Some("a=1,b=2"));
    }
}
