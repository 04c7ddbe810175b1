//! A gRPC client of HTTP/2 frames and bytes that were encoded before. It costs as little as it can, because it shares
//! the machine with the server that it measures. Plaintext; one message each way.

use std::{future::poll_fn, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use h2::{client, client::SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use prost::Message;
use tokio::net::{TcpStream, lookup_host};

use crate::status_reason::status_reason;
use countersign::{domain::unreached::unreached, error::Error};

/// The length of the flag and the length before a message (gRPC over HTTP/2, Length-Prefixed-Message).
const PREFIX: usize = 5;
/// Times that a server that is overloaded is asked again, and the pause before each.
const PATIENCE: usize = 30;
const PAUSE: Duration = Duration::from_secs(1);
/// Never reached by the answers of one connection's streams, so that nothing waits for a window.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// A refusal without words of the server.
const BROKEN: &str = "CONNECTION";

/// The server that is measured.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The address of the server.
    pub addr: SocketAddr,
    authority: String,
}

impl Target {
    /// Reads `http://host:port` and looks up the host.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub(crate) async fn parse(text: &str) -> Result<Self, Error> {
        let expected = || Error::invalid("target", "http://host:port");
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http") && uri.path() == "/");
        let authority = authority.filter(|authority| authority.port().is_some()).ok_or_else(expected)?.to_string();
        let found = lookup_host(&authority).await.map_err(|error| unreachable(&authority, &error))?;
        let addr = found.into_iter().next().ok_or_else(expected)?;
        Ok(Self { addr, authority })
    }

    /// A server of this machine.
    pub(crate) fn local(addr: SocketAddr) -> Self {
        Self { addr, authority: addr.to_string() }
    }
}

fn unreachable(authority: &str, error: &std::io::Error) -> Error {
    Error::invalid("target", unreached(authority, error))
}

/// The parts that are the same in all requests of a kind.
#[derive(Clone)]
pub(crate) struct Template {
    uri: Uri,
    headers: HeaderMap,
}

impl Template {
    /// A template for the RPC at `path`; `bearer` administers.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a token that is no header.
    pub(crate) fn new(target: &Target, path: &str, bearer: Option<&str>) -> Result<Self, Error> {
        let uri = format!("http://{}{path}", target.authority).parse().map_err(Error::internal)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Some(token) = bearer {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| Error::invalid("admin-token-file", "one line of visible characters"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Self { uri, headers })
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// A message in the framing of gRPC.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let mut framed = BytesMut::zeroed(PREFIX);
    let length = u32::try_from(message.encoded_len()).unwrap_or(u32::MAX);
    framed.truncate(1);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message.encode_to_vec());
    framed.freeze()
}

/// The server's answer: a message, or the reason of its refusal.
pub(crate) type Answer = Result<Bytes, Arc<str>>;

/// A stream of calls, one after the other, on a connection that others share.
#[derive(Clone)]
pub(crate) struct Stream {
    requests: SendRequest<Bytes>,
    /// The details of the last refusal and their reason: equal ones are read once.
    refusal: Option<(HeaderValue, Arc<str>)>,
}

impl Stream {
    /// Connects. Further streams on the same connection are clones.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a target that cannot be reached.
    pub(crate) async fn connect(target: &Target) -> Result<Self, Error> {
        let stream = TcpStream::connect(target.addr).await.map_err(|error| unreachable(&target.authority, &error))?;
        stream.set_nodelay(true).map_err(Error::internal)?;
        let mut settings = client::Builder::new();
        settings.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        let (requests, connection) = settings.handshake(stream).await.map_err(|error| {
            Error::invalid("target", format!("{} does not answer as a gRPC server: {error}", target.authority))
        })?;
        // Ends when the last stream is dropped; who still calls hears of its failure.
        tokio::spawn(connection);
        Ok(Self { requests, refusal: None })
    }

    /// Makes one call with a framed message.
    pub(crate) async fn call(&mut self, template: &Template, message: Bytes) -> Answer {
        match self.exchange(template, message).await {
            Ok(answer) => answer,
            Err(_) => Err(BROKEN.into()),
        }
    }

    /// Makes one call, and reads the answer. A server that has too much to do is asked again.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `setting`, with the reason of a refusal.
    pub(crate) async fn unary<A: Message + Default>(
        &mut self,
        setting: &'static str,
        template: &Template,
        request: &impl Message,
    ) -> Result<A, Error> {
        let message = frame(request);
        let mut answer = self.call(template, message.clone()).await;
        for _ in 0..PATIENCE {
            if !answer.as_ref().is_err_and(|reason| &**reason == "OVERLOADED") {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            answer = self.call(template, message.clone()).await;
        }
        let message = answer.map_err(|reason| Error::invalid(setting, format!("the server refused it: {reason}")))?;
        A::decode(message).map_err(|_| Error::internal("the answer is no message of this method"))
    }

    async fn exchange(&mut self, template: &Template, message: Bytes) -> Result<Answer, h2::Error> {
        poll_fn(|context| self.requests.poll_ready(context)).await?;
        let (answer, mut body) = self.requests.send_request(template.request(), false)?;
        body.send_data(message, true)?;
        let (head, mut body) = answer.await?.into_parts();
        if body.is_end_stream() {
            return Ok(self.read(&head.headers, Bytes::new()));
        }
        let mut message = Bytes::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            message = if message.is_empty() { part } else { [message, part].concat().into() };
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok(self.read(&trailers, message))
    }

    fn read(&mut self, trailers: &HeaderMap, mut message: Bytes) -> Answer {
        if trailers.get("grpc-status").is_some_and(|status| status == "0") && message.len() >= PREFIX {
            return Ok(message.split_off(PREFIX));
        }
        let details = trailers.get("grpc-status-details-bin");
        match (&self.refusal, details) {
            (Some((known, reason)), Some(details)) if known == details => Err(Arc::clone(reason)),
            _ => {
                let reason: Arc<str> = status_reason(trailers).into();
                self.refusal = details.cloned().map(|details| (details, Arc::clone(&reason)));
                Err(reason)
            }
        }
    }
}

/// True if a refusal says that the connection is gone.
pub(crate) fn is_broken(reason: &str) -> bool {
    reason == BROKEN
}
