//! A layer around every call. It refuses callers that lack the permission, and keeps the contract where tonic does not.
//! A deadline answers DEADLINE_EXCEEDED (tonic says CANCELLED). A request that cannot be read answers INVALID_ARGUMENT
//! with ErrorInfo (tonic says OUT_OF_RANGE or INTERNAL).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Extensions, HeaderMap, Request, Response};
use tonic::{Code, Status, body::Body, transport::server::TcpConnectInfo};
use tower::{Layer, Service};

use super::status::status;
use crate::{
    edge::{Gate, Refusal},
    error::Error,
    net::Peer,
};

/// Makes [`Contract`]s.
#[derive(Clone, Debug)]
pub(super) struct ContractLayer(pub Arc<Gate>);

/// The layer's service.
#[derive(Clone, Debug)]
pub struct Contract<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Layer<S> for ContractLayer {
    type Service = Contract<S>;

    fn layer(&self, inner: S) -> Contract<S> {
        Contract { inner, gate: Arc::clone(&self.0) }
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
        let peer = peer(request.extensions());
        if let Err(refusal) = self.gate.authorize(&peer, &mut request) {
            let refused = match refusal {
                Refusal::UnknownRpc => Status::unimplemented("no such method"),
                Refusal::Refused(rpc, error) => status(rpc.name(), error),
            };
            return Box::pin(async move { Ok(refused.into_http()) });
        }
        // Made before tonic makes its own timer for the same header, so that ours ends first.
        let deadline = timeout(request.headers()).map(tokio::time::sleep);
        let response = self.inner.call(request);
        Box::pin(async move {
            let Some(deadline) = deadline else {
                return response.await.map(honest);
            };
            tokio::select! {
                biased;
                response = response => response.map(honest),
                () = deadline => Ok(status("deadline", Error::DeadlineExceeded).into_http()),
            }
        })
    }
}

/// The other end of the connection that a request came over.
fn peer(extensions: &Extensions) -> Peer {
    if let Some(peer) = extensions.get::<Peer>() {
        return peer.clone();
    }
    let tcp = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    Peer { addr: tcp.map(|addr| addr.ip()), certificate: None }
}

/// Replaces what tonic and the codec say of a request that they cannot read; our own statuses carry details.
fn honest(response: Response<Body>) -> Response<Body> {
    let theirs = Status::from_header_map(response.headers()).filter(|status| status.details().is_empty());
    let expected = match theirs.map(|status| status.code()) {
        Some(Code::OutOfRange) => "a smaller message",
        Some(Code::Internal) => "one message of this method in the framing of gRPC, its strings in UTF-8",
        _ => return response,
    };
    status("decode", Error::invalid("request", expected)).into_http()
}

/// The caller's `grpc-timeout`: at most eight digits and a unit. Anything else counts as none, as in tonic.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (digits, unit) = headers.get("grpc-timeout")?.as_bytes().split_last().map(|(u, d)| (d, u))?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_specification_says() {
        for (text, expected) in [
            ("1m", Some(Duration::from_millis(1))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("5S", Some(Duration::from_secs(5))),
            ("7u", Some(Duration::from_micros(7))),
            ("", None),
            ("m", None),
            ("123456789m", None),
            ("-1S", None),
            ("+1S", None),
            ("1x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("header"));
            assert_eq!(timeout(&headers), expected, "{text}");
        }
    }
}
