//! The watch over calls: each is counted from its beginning to its end, and one that failed is said in the log. Most end with their
//! answer, a stream when its answer ends or is dropped.

use std::{
    error::Error as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::status::{NamedError, REASON};
use crate::{
    domain::rpc::Rpc,
    edge::{CalledBy, Failures, NamedCall, Names},
    error::Error,
    metrics::{Call, Calls},
    trace::CallSpan,
};

/// Calls of RPCs that are not of the contract, in the log.
const OTHER: &str = "other";
/// The header by which a caller finds the trace of its call (W3C Trace Context, level 3).
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
/// The number of the code of a call that was cancelled.
const CANCELLED: i32 = 1;

/// The watch over the calls of a port.
#[derive(Clone, Debug)]
pub(super) struct CallWatch {
    calls: Option<Calls>,
    failures: Arc<Failures>,
}

/// A call that is watched. One that is dropped was cancelled.
#[derive(Debug)]
pub(super) struct WatchedCall {
    rpc: Option<Rpc>,
    call: Option<Call>,
    span: Option<CallSpan>,
    failures: Arc<Failures>,
}

impl CallWatch {
    /// A watch that counts calls, if there is something to count them by.
    pub(super) fn new(calls: Option<Calls>, failures: Arc<Failures>) -> Self {
        Self { calls, failures }
    }

    /// Watches a call that begins.
    pub(super) fn begin(&self, path: &str) -> WatchedCall {
        let rpc = Rpc::at(path);
        let call = self.calls.as_ref().map(|calls| calls.begin(rpc, path));
        let span = CallSpan::begin_rpc(rpc.map(Rpc::path), path);
        WatchedCall { rpc, call, span, failures: Arc::clone(&self.failures) }
    }
}

impl WatchedCall {
    /// The call by its names, if it has any. The span of a Check whose headers name no trace is left to its handler. It
    /// belongs to the trace of the request that is asked about.
    pub(super) fn named(&self, headers: &HeaderMap) -> (Option<NamedCall>, Option<&CallSpan>) {
        let names = Names::of(headers);
        match &self.span {
            Some(span) if self.rpc == Some(Rpc::Check) && names.parent.is_none() => {
                (NamedCall::new(&names, None), Some(span))
            }
            span => (NamedCall::new(&names, span.clone()), None),
        }
    }

    /// Ends the watch over a call that is answered so: with this code if that is all. A stream is watched until it ends.
    pub(super) fn answered(self, by: CalledBy, mut response: Response<Body>, code: Option<Code>) -> Response<Body> {
        self.trace(&by, &mut response);
        match code {
            Some(code) => {
                if code == Code::Unimplemented {
                    self.failures.log_unimplemented(self.name(), &by);
                } else if let Some(status) = response.extensions().get::<Status>() {
                    self.log(&by, status);
                }
                self.end(code);
                response
            }
            None if self.call.as_ref().is_some_and(Call::streams) => {
                response.map(|body| Body::new(WatchedBody { body, watched: Some((self, by)) }))
            }
            // What is left is a message, and the trailers that say OK.
            None => {
                self.end(Code::Ok);
                response
            }
        }
    }

    /// Notes in the trace who has called and why the answer says no, and in the answer where the trace is.
    fn trace(&self, by: &CalledBy, response: &mut Response<Body>) {
        if let Some(span) = &self.span
            && let Some(found_by) = span.traceresponse()
        {
            span.caller(by);
            if let Some(reason) = response.headers().get(REASON).and_then(|reason| reason.to_str().ok()) {
                span.reason(reason);
            }
            if let Ok(found_by) = HeaderValue::try_from(found_by) {
                response.headers_mut().insert(TRACERESPONSE, found_by);
            }
        }
    }

    /// Says what went wrong, if something did. What is not ours says nothing.
    fn log(&self, by: &CalledBy, status: &Status) {
        let source = status.source();
        if let Some(error) = source.and_then(|source| source.downcast_ref::<Error>()) {
            self.failures.log(self.name(), by, error);
        } else if let Some(NamedError { error, call }) = source.and_then(|source| source.downcast_ref()) {
            let _entered = call.enter();
            self.failures.log(self.name(), by, error);
        }
    }

    fn name(&self) -> &'static str {
        self.rpc.map_or(OTHER, Rpc::name)
    }

    fn end(mut self, code: Code) {
        if let Some(call) = self.call.take() {
            call.end(code.into());
        }
        if let Some(span) = self.span.take() {
            span.end_rpc(code.into());
        }
    }
}

/// A call that was cancelled: its metrics know that by themselves.
impl Drop for WatchedCall {
    fn drop(&mut self) {
        if let Some(span) = &self.span {
            span.end_rpc(CANCELLED);
        }
    }
}

/// The body of a stream's answer. One that is dropped before its end was cancelled.
struct WatchedBody {
    body: Body,
    watched: Option<(WatchedCall, CalledBy)>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let status = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.trailers_ref().map(Status::from_header_map),
            Poll::Ready(Some(Err(status))) => Some(Some(status.clone())),
            Poll::Ready(None) => Some(None),
            Poll::Pending => None,
        };
        if let Some(status) = status
            && let Some((watched, by)) = self.watched.take()
        {
            let code = status.as_ref().map_or(Code::Unknown, Status::code);
            if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
                let reason = status.metadata().get(REASON).and_then(|reason| reason.to_str().ok());
                watched.failures.log_stream_end(watched.name(), &by, reason.unwrap_or_default());
            }
            watched.end(code);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
