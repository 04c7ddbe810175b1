//! A service with one empty call, behind the same port as ours: what a unary call costs before it does anything.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use countersign_proto::codec::Codec;
use http::Request;
use tokio::sync::watch;
use tonic::{
    Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    service::Routes,
};
use tower::Service;

use countersign::{
    grpc::serve_routes,
    net::{Listener, Port, Protocol},
};

/// Length of an answer, as long as that of a Verify.
const ANSWER: usize = 150;

/// Takes a string (google.protobuf.StringValue) and answers another of 150 bytes.
#[derive(Clone, Copy, Debug)]
struct Empty;

impl NamedService for Empty {
    const NAME: &'static str = "countersign.bench.Empty";
}

impl Service<Request<Body>> for Empty {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async { Ok(Grpc::new(Codec::<String, String>::default()).unary(Self, request).await) })
    }
}

impl UnaryService<String> for Empty {
    type Response = String;
    type Future = Ready<Result<Response<String>, Status>>;

    fn call(&mut self, _: tonic::Request<String>) -> Self::Future {
        ready(Ok(Response::new("x".repeat(ANSWER))))
    }
}

/// Serves the empty call until `shutdown`.
pub(crate) async fn serve(listener: Listener, shutdown: impl Future<Output = ()>) {
    let mut routes = Routes::builder();
    routes.add_service(Empty);
    let drain = watch::Sender::new(false);
    let serving = serve_routes(Port::plaintext(listener, Protocol::Http2), routes.routes(), drain.subscribe());
    tokio::pin!(serving);
    tokio::select! {
        () = &mut serving => return,
        () = shutdown => {}
    }
    drain.send_replace(true);
    serving.await;
}
