//! The end of a call, as metrics count it: of most with the answer, of a stream when its answer ends or is dropped.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use crate::metrics::Call;

/// Counts the end of a call whose answer begins so, with this code if it has ended already.
pub(super) fn ended(call: Option<Call>, response: Response<Body>, code: Option<Code>) -> Response<Body> {
    match (call, code) {
        (None, _) => response,
        (Some(call), Some(code)) => {
            call.end(code.into());
            response
        }
        (Some(call), None) if call.streams() => response.map(|body| Body::new(Counted { body, call: Some(call) })),
        // What is left is a message, and the trailers that say OK.
        (Some(call), None) => {
            call.end(Code::Ok.into());
            response
        }
    }
}

/// The body of a stream's answer. One that is dropped before its end was cancelled.
struct Counted {
    body: Body,
    call: Option<Call>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let code = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame
                .trailers_ref()
                .map(|trailers| Status::from_header_map(trailers).map_or(Code::Unknown, |status| status.code())),
            Poll::Ready(Some(Err(status))) => Some(status.code()),
            Poll::Ready(None) => Some(Code::Unknown),
            Poll::Pending => None,
        };
        if let Some(code) = code
            && let Some(call) = self.call.take()
        {
            call.end(code.into());
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
