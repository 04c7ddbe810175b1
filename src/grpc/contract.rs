//! A layer around every call. It refuses callers that lack the permission, and keeps the contract where tonic does not.
//! A deadline answers DEADLINE_EXCEEDED. A request that cannot be read answers INVALID_ARGUMENT
//! with ErrorInfo (tonic says OUT_OF_RANGE or INTERNAL). A handler that panics answers INTERNAL, and what is no call of gRPC
//! 415. Calls beyond a bound are shed.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use tokio::{sync::Semaphore, time::sleep};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{
    call_watch::{CallWatch, WatchedCall},
    deadline,
    status::status,
};
use crate::{
    edge::{CalledBy, Gate, NamedCall, Refusal},
    error::Error,
    net::Peer,
};

/// The most calls that wait for their answers at once. Each takes some 20 KiB.
const MAX_CALLS: usize = 8192;
/// The pause after which a caller that was shed may try again.
const SHED: Duration = Duration::from_secs(1);

/// Makes [`Contract`]s that share a bound on calls.
#[derive(Clone, Debug)]
pub(super) struct ContractLayer {
    gate: Arc<Gate>,
    calls: Arc<Semaphore>,
    watch: CallWatch,
}

impl ContractLayer {
    pub(super) fn new(gate: Arc<Gate>, watch: CallWatch) -> Self {
        Self { gate, calls: Arc::new(Semaphore::new(MAX_CALLS)), watch }
    }
}

/// The layer's service.
#[derive(Clone, Debug)]
pub struct Contract<S> {
    inner: S,
    gate: Arc<Gate>,
    calls: Arc<Semaphore>,
    watch: CallWatch,
}

impl<S> Layer<S> for ContractLayer {
    type Service = Contract<S>;

    fn layer(&self, inner: S) -> Contract<S> {
        let Self { gate, calls, watch } = self.clone();
        Contract { inner, gate, calls, watch }
    }
}

impl<S> Service<Request<Body>> for Contract<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if !is_grpc(request.headers()) {
            return answered(unsupported());
        }
        let call = self.watch.begin(request.uri().path());
        // Calls in the same process have none.
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let (named, unplaced) = call.named(request.headers());
        if let Some(span) = unplaced {
            request.extensions_mut().insert(span.clone());
        }
        let (turn, by) = {
            let _entered = named.as_ref().map(NamedCall::enter);
            let Ok(turn) = Arc::clone(&self.calls).try_acquire_owned() else {
                return refused(call, CalledBy::peer(peer.addr), status(Error::Overloaded { retry_after: SHED }));
            };
            match self.gate.authorize(&peer, &mut request) {
                Ok(by) => (turn, by),
                Err(Refusal::UnknownRpc) => {
                    let unknown = Status::unimplemented("no such method on this port");
                    return refused(call, CalledBy::peer(peer.addr), unknown);
                }
                Err(Refusal::Refused(error, by)) => return refused(call, by, status(error)),
            }
        };
        let deadline = deadline::of(&request);
        let response = self.inner.call(request);
        let answer = async move {
            let response = unpanicked(response);
            let answer = match deadline {
                None => response.await,
                Some(deadline) => tokio::select! {
                    biased;
                    response = response => response,
                    // Made when it is first waited for: an answer from memory needs no timer.
                    () = async { sleep(deadline).await } => Ok(status(Error::DeadlineExceeded).into_http()),
                },
            };
            drop(turn);
            answer.map(|response| {
                let (response, code) = honest(response);
                call.answered(by, response, code)
            })
        };
        match named {
            Some(named) => Box::pin(named.carry(answer)),
            None => Box::pin(answer),
        }
    }
}

/// The answer to a call that reaches no handler.
fn refused<E: 'static>(
    call: WatchedCall,
    by: CalledBy,
    status: Status,
) -> Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>> {
    let code = status.code();
    answered(call.answered(by, status.into_http(), Some(code)))
}

fn answered<E: 'static>(response: Response<Body>) -> Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>> {
    Box::pin(async move { Ok(response) })
}

/// True for the content types of gRPC. Those of gRPC-Web are made these before they come here, where a port speaks it.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    kind.is_some_and(|rest| rest.first().is_none_or(|byte| b"+;".contains(byte)))
}

/// The answer to what is no call of gRPC ("gRPC over HTTP2", Requests).
fn unsupported() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// The answer of a handler, which is INTERNAL if it panics: the other calls of its connection go on.
async fn unpanicked<E>(response: impl Future<Output = Result<Response<Body>, E>>) -> Result<Response<Body>, E> {
    let mut response = pin!(response);
    let answer = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| response.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    match answer.await {
        Ok(response) => response,
        // The panic itself is in the log, with its place.
        Err(_) => Ok(status(Error::internal("a handler has panicked")).into_http()),
    }
}

/// Replaces what tonic and the codec say of a request that they cannot read; our own statuses carry details. Gives the code
/// too, if the call has ended with the answer's headers.
fn honest(response: Response<Body>) -> (Response<Body>, Option<Code>) {
    let Some(said) = Status::from_header_map(response.headers()) else {
        return (response, None);
    };
    let expected = match said.code() {
        code if !said.details().is_empty() => return (response, Some(code)),
        Code::OutOfRange | Code::ResourceExhausted => "a smaller message",
        Code::Internal => "one message of this method in the framing of gRPC, its strings in UTF-8",
        code => return (response, Some(code)),
    };
    let status = status(Error::invalid("request", expected));
    let code = status.code();
    (status.into_http(), Some(code))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use countersign_token::clock::Clock;
    use tower::service_fn;

    use super::*;
    use crate::edge::{Callers, Defaults, Failures};

    fn layer() -> ContractLayer {
        let gate = Gate::new(Callers::new(Defaults::Open, None), None, Clock::manual());
        ContractLayer::new(Arc::new(gate), CallWatch::new(None, Arc::new(Failures::new(Clock::manual()))))
    }

    fn call(kind: &str) -> Request<Body> {
        let request = Request::builder().uri("/grpc.health.v1.Health/Check").header(CONTENT_TYPE, kind);
        request.body(Body::empty()).expect("a request")
    }

    async fn code(
        service: &mut impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        kind: &str,
    ) -> Result<Code, StatusCode> {
        let Ok(response) = service.call(call(kind)).await;
        let status = Status::from_header_map(response.headers()).map(|status| status.code());
        status.ok_or(response.status())
    }

    #[tokio::test]
    async fn a_panic_is_internal_and_what_is_no_grpc_is_unsupported() {
        let panics = service_fn(|_: Request<Body>| async { panic!("a defect") });
        let mut panics = layer().layer(panics);
        assert_eq!(code(&mut panics, "application/grpc").await, Ok(Code::Internal));
        assert_eq!(code(&mut panics, "application/grpc+proto").await, Ok(Code::Internal), "and again");
        for kind in ["application/json", "application/grpc-web", "text/plain", ""] {
            assert_eq!(code(&mut panics, kind).await, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{kind}");
        }
    }

    #[tokio::test]
    async fn calls_beyond_the_bound_are_shed_until_others_are_answered() {
        let layer = layer();
        let answers = service_fn(|_: Request<Body>| async { Ok(Status::ok("").into_http()) });
        let mut service = layer.layer(answers);
        let all = u32::try_from(MAX_CALLS).expect("small");
        let taken = Arc::clone(&layer.calls).try_acquire_many_owned(all).expect("all of them");
        let (read, write) = std::io::pipe().expect("a pipe");
        let log = tracing_subscriber::fmt().with_writer(std::sync::Mutex::new(write)).finish();
        let logged = tracing::subscriber::set_default(log);
        let mut named = call("application/grpc");
        named.headers_mut().insert("x-request-id", "request-4714".parse().expect("a value"));
        let Ok(shed) = service.call(named).await;
        assert_eq!(Status::from_header_map(shed.headers()).map(|status| status.code()), Some(Code::ResourceExhausted));
        drop(logged);
        let line = std::io::read_to_string(read).expect("text");
        assert!(line.contains("request-4714") && line.contains("OVERLOADED"), "{line}");
        drop(taken);
        assert_eq!(code(&mut service, "application/grpc").await, Ok(Code::Ok));
        assert_eq!(layer.calls.available_permits(), MAX_CALLS);
    }
}
