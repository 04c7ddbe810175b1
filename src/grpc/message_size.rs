//! The size of requests: what an RPC takes is bounded before it is read, so that a caller occupies little memory.

use std::task::{Context, Poll};

use http::Request;
use tonic::server::NamedService;
use tower::Service;

/// Bytes of a request.
pub(super) const SMALL: usize = 64 * 1024;
/// Bytes of a message of an RPC that is in [`OF_LARGE`]: room for 1000 tokens or users.
const LARGE: usize = 1024 * 1024;
/// Bytes of a question of Envoy, which may send the body of the request along. We read over it.
pub(super) const WITH_BODY: usize = LARGE + SMALL;
/// The RPCs whose messages may be large.
const OF_LARGE: [&str; 2] = ["/countersign.v1.AuthService/VerifyBatch", "/countersign.v1.UserService/ImportUsers"];

/// A service in two forms that differ in the size of the messages that they read.
#[derive(Clone, Debug)]
pub(super) struct BySize<S> {
    small: S,
    large: S,
}

impl<S> BySize<S> {
    /// The service that `limited` makes of a limit in bytes.
    pub(super) fn new(limited: impl Fn(usize) -> S) -> Self {
        Self { small: limited(SMALL), large: limited(LARGE) }
    }
}

impl<S: NamedService> NamedService for BySize<S> {
    const NAME: &'static str = S::NAME;
}

impl<B, S: Service<Request<B>>> Service<Request<B>> for BySize<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    /// Ready: the services of tonic always are.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.small.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.large.poll_ready(cx),
            other => other,
        }
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let large = OF_LARGE.contains(&request.uri().path());
        if large { self.large.call(request) } else { self.small.call(request) }
    }
}
