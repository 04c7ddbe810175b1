//! The watch over calls: each is counted from its beginning to its end, and one that failed is said in the log. Most end with their
//! answer, a stream when its answer ends or is dropped.

use std::{
    error::Error as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::status::REASON;
use crate::{
    domain::rpc::Rpc,
    edge::{CalledBy, Failures},
    error::Error,
    metrics::{Call, Calls},
};

/// Calls of RPCs that are not of the contract, in the log.
const OTHER: &str = "other";

/// The watch over the calls of a port.
#[derive(Clone, Debug)]
pub(super) struct CallWatch {
    calls: Option<Calls>,
    failures: Arc<Failures>,
}

/// A call that is watched. One that is dropped was cancelled.
#[derive(Debug)]
pub(super) struct WatchedCall {
    name: &'static str,
    call: Option<Call>,
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
        WatchedCall { name: rpc.map_or(OTHER, Rpc::name), call, failures: Arc::clone(&self.failures) }
    }
}

impl WatchedCall {
    /// Ends the watch over a call that is answered so: with this code if that is all. A stream is watched until it ends.
    pub(super) fn answered(self, by: CalledBy, response: Response<Body>, code: Option<Code>) -> Response<Body> {
        match code {
            Some(code) => {
                if code == Code::Unimplemented {
                    self.failures.log_unimplemented(self.name, &by);
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

    /// Says what went wrong, if something did. What is not ours says nothing.
    fn log(&self, by: &CalledBy, status: &Status) {
        let source = status.source().and_then(|source| source.downcast_ref::<Error>());
        if let Some(error) = source {
            self.failures.log(self.name, by, error);
        }
    }

    fn end(self, code: Code) {
        if let Some(call) = self.call {
            call.end(code.into());
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
                watched.failures.log_stream_end(watched.name, &by, reason.unwrap_or_default());
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
