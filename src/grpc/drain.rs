//! Streams of health and reflection, which go on for as long as their caller likes: they end when the port drains.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::watch;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::status::status;
use crate::{
    error::Error,
    net::{Peer, Place, Places, network},
};

/// The most of these streams at once, and those from one address.
const MAX_STREAMS: usize = 4096;
const MAX_STREAMS_PER_ADDRESS: usize = 1024;

/// A service whose answers end when the port drains, and of which there are so many at once.
#[derive(Clone, Debug)]
pub(super) struct UntilDrain<S> {
    inner: S,
    drain: watch::Receiver<bool>,
    streams: Arc<Places<IpAddr>>,
}

impl<S> UntilDrain<S> {
    pub(super) fn new(inner: S, drain: watch::Receiver<bool>) -> Self {
        Self { inner, drain, streams: Places::new(MAX_STREAMS, MAX_STREAMS_PER_ADDRESS) }
    }
}

impl<S: NamedService> NamedService for UntilDrain<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for UntilDrain<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let addr = request.extensions().get::<Peer>().and_then(|peer| peer.addr);
        let Ok(place) = self.streams.take(addr.map(network)) else {
            let full = status(Error::Overloaded { retry_after: Duration::from_secs(1) });
            return Box::pin(async move { Ok(full.into_http()) });
        };
        let response = self.inner.call(request);
        let mut drain = self.drain.clone();
        Box::pin(async move {
            // The sender outlives the port; if it did not, stopping would be right as well.
            let mut drained = Box::pin(async move { drop(drain.wait_for(|drain| *drain).await) });
            let response = tokio::select! {
                response = response => response?,
                () = &mut drained => return Ok(status(Error::ShuttingDown).into_http()),
            };
            Ok(response.map(|body| Body::new(Draining { body, drained, ended: false, _place: place })))
        })
    }
}

/// The body of an answer that ends when the port drains.
struct Draining<F> {
    body: Body,
    drained: Pin<Box<F>>,
    ended: bool,
    _place: Place<IpAddr>,
}

impl<F: Future<Output = ()>> HttpBody for Draining<F> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending if this.drained.as_mut().poll(cx).is_ready() => {
                this.ended = true;
                let mut trailers = HeaderMap::new();
                status(Error::ShuttingDown).add_header(&mut trailers)?;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            frame => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
