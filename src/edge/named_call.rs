//! The names that a caller gives to a call, so that what is logged and written of it can be found. They are `x-request-id`,
//! and `traceparent` of W3C Trace Context.

use std::future::Future;

use http::{HeaderMap, HeaderName};
use tracing::{Instrument as _, Span, span::Entered};

use crate::{audit::call, domain::audit::CallNames};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Characters of a request id; a longer one is none.
const MAX_REQUEST_ID: usize = 128;

/// A call that its caller has named.
#[derive(Debug)]
pub struct NamedCall {
    /// The span with which everything is logged.
    span: Span,
    names: CallNames,
}

impl NamedCall {
    /// The call with these headers; None if its caller has not named it.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let request_id = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| is_request_id(id));
        let trace = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(trace_of);
        if request_id.is_none() && trace.is_none() {
            return None;
        }
        let (trace_id, parent_id) = trace.unzip();
        // At this level it is there whatever else is logged.
        let span = tracing::error_span!("call", request_id, trace_id, parent_id);
        let names = CallNames { request_id: request_id.map(str::to_owned), trace_id: trace_id.map(str::to_owned) };
        Some(Self { span, names })
    }

    /// Logs as part of the call until the guard is dropped.
    pub fn enter(&self) -> Entered<'_> {
        self.span.enter()
    }

    /// Does the work of the call: what it logs and writes has the names.
    pub fn carry<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        call::named(self.names, work).instrument(self.span)
    }
}

/// True for visible characters without quotes, so that no line of a log is forged.
fn is_request_id(id: &str) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte))
}

/// The ids of the trace and of the caller's span (W3C Trace Context section 3.2).
fn trace_of(traceparent: &str) -> Option<(&str, &str)> {
    let mut parts = traceparent.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let named = |part: &str| part.bytes().any(|byte| byte != b'0');
    let known = version != "00" || parts.next().is_none();
    let valid = hex(version, 2) && version != "ff" && known && hex(flags, 2);
    (valid && hex(trace, 32) && named(trace) && hex(parent, 16) && named(parent)).then_some((trace, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn traces_are_read_as_their_specification_says() {
        for (text, valid) in [
            (format!("00-{TRACE}-{PARENT}-01"), true),
            (format!("01-{TRACE}-{PARENT}-01-more"), true),
            (format!("00-{TRACE}-{PARENT}-01-more"), false),
            (format!("ff-{TRACE}-{PARENT}-01"), false),
            (format!("00-{}-{PARENT}-01", "0".repeat(32)), false),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), false),
            (format!("00-{TRACE}-{PARENT}"), false),
            (String::new(), false),
        ] {
            assert_eq!(trace_of(&text), valid.then_some((TRACE, PARENT)), "{text}");
        }
    }

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
        assert!(NamedCall::of(&HeaderMap::new()).is_none());
    }
}
