//! A connection, from its first byte to its last.

use std::{
    future::pending,
    hash::{BuildHasher as _, RandomState},
    io,
    net::IpAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::either::Either;
use tower::Service;

use super::{
    listener::Socket,
    peer::{CertificateNames, Peer},
    places::{Places, network},
    protocol::Protocol,
    requests::{Counted, Heard, Requests},
    tls::TlsConfig,
};
use crate::domain::connection::ConnectionPolicy;

/// Bytes of a request's head.
const MAX_HEADER_LIST: u32 = 8 * 1024;
/// Bytes that are read of HTTP/1 before a request's head is whole.
const MAX_HTTP1_BUFFER: usize = 16 * 1024;
const MAX_STREAMS: u32 = 256;
/// Streams that a client makes and resets at once (CVE-2023-44487, CVE-2025-8671).
const MAX_RESETS: usize = 256;
/// Such streams that wait for their turn. A proxy resets a question whenever one of its clients hangs up, and closing its connection
/// would cost all the others theirs.
const MAX_PENDING_RESETS: usize = 1024;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the first bytes, which includes the handshake of TLS; and in HTTP/1 for each request's head.
const OPENING: Duration = Duration::from_secs(10);
/// Bytes of the preface of HTTP/2 (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Time without requests after which a connection is closed.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Time for the requests of a connection that has become too old.
const AGE_GRACE: Duration = Duration::from_secs(5 * 60);
/// Time in which the other end can confirm that a connection without requests is being closed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Time for which answers that the other end does not take hold up a stop.
const UNREAD: Duration = Duration::from_secs(5);
/// Handshakes of TLS under way, in all and from one address. More are closed.
const MAX_HANDSHAKES: usize = 1024;
const MAX_HANDSHAKES_PER_ADDRESS: usize = 256;

/// The way in which a port serves its connections.
pub(super) struct Connections<S> {
    service: S,
    tls: Option<TlsConfig>,
    policy: ConnectionPolicy,
    builder: auto::Builder<TokioExecutor>,
    handshakes: Arc<Places<IpAddr>>,
}

impl<S> Connections<S> {
    pub(super) fn new(service: S, protocol: Protocol, tls: Option<TlsConfig>, policy: ConnectionPolicy) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(OPENING).max_buf_size(MAX_HTTP1_BUFFER);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_local_error_reset_streams(MAX_RESETS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_header_list_size(MAX_HEADER_LIST)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let builder = match protocol {
            Protocol::Http1 => builder.http1_only(),
            Protocol::Http2 => builder.http2_only(),
            Protocol::Both => builder,
        };
        Self { service, tls, policy, builder, handshakes: Places::new(MAX_HANDSHAKES, MAX_HANDSHAKES_PER_ADDRESS) }
    }

    /// Serves a connection until it ends, or has to. After `stop` it takes no more requests, and ends when those under way
    /// have been answered.
    pub(super) async fn serve<B>(self: Arc<Self>, socket: Socket, addr: Option<IpAddr>, stop: watch::Receiver<bool>)
    where
        S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body + Unpin + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let opened = tokio::select! {
            opened = timeout(OPENING, self.open(socket, addr)) => opened.unwrap_or(Err(io::ErrorKind::TimedOut.into())),
            () = stopped(stop.clone()) => return,
        };
        let (io, peer) = match opened {
            Ok(opened) => opened,
            Err(error) => return tracing::debug!(%error, peer = ?addr, "a connection was not opened"),
        };
        let requests = Requests::new();
        let service = Counted { service: self.service.clone(), peer, requests: Arc::clone(&requests) };
        let io = TokioIo::new(Heard { io, requests: Arc::clone(&requests) });
        let mut connection = pin!(self.builder.serve_connection(io, TowerToHyperService::new(service)));
        let mut end = End::new(requests, self.policy.max_age);
        loop {
            tokio::select! {
                served = &mut connection => {
                    if let Err(error) = served {
                        tracing::debug!(error, peer = ?addr, "a connection failed");
                    }
                    return;
                }
                step = end.next(stop.clone()) => match step {
                    Step::Close => connection.as_mut().graceful_shutdown(),
                    Step::Drop => return,
                }
            }
        }
    }

    async fn open(
        &self,
        socket: Socket,
        addr: Option<IpAddr>,
    ) -> io::Result<(Either<Socket, TlsStream<Socket>>, Peer)> {
        // One that stays silent does not take the turn of others.
        match &socket {
            Either::Left(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.peek(&mut [0]).await?;
            }
            Either::Right(unix) => unix.readable().await?,
        }
        let Some(tls) = &self.tls else {
            return Ok((Either::Left(socket), Peer { addr, certificate: None }));
        };
        let turn = self.handshakes.take(addr.map(network)).map_err(|_| io::Error::other("too many handshakes"))?;
        let stream = TlsAcceptor::from(tls.current()).accept(socket).await?;
        drop(turn);
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = certificate.map(|der| CertificateNames::of(der).map(Arc::new)).transpose()?;
        Ok((Either::Right(stream), Peer { addr, certificate }))
    }
}

/// A step towards the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// No more requests are taken.
    Close,
    /// Nothing is waited for.
    Drop,
}

/// The reasons to end a connection, as time passes.
struct End {
    requests: Arc<Requests>,
    state: State,
    /// The moment when it is too old.
    old_at: Option<Instant>,
}

#[derive(Clone, Copy)]
enum State {
    /// Bytes are expected until then.
    Opening(Instant),
    Open,
    Closing(Closing),
}

/// The time in which requests under way may end.
#[derive(Clone, Copy)]
struct Closing {
    since: Instant,
    /// The moment when it is over, if there is one.
    until: Option<Instant>,
    /// True if the port stops, and with it all that is answered for ever.
    stopping: bool,
}

impl End {
    fn new(requests: Arc<Requests>, max_age: Option<Duration>) -> Self {
        let now = Instant::now();
        let old_at = max_age.and_then(|age| now.checked_add(jittered(age)));
        Self { requests, state: State::Opening(now + OPENING), old_at }
    }

    /// Waits for the next step. Dropping the wait loses nothing.
    async fn next(&mut self, stop: watch::Receiver<bool>) -> Step {
        loop {
            let idle_since = self.requests.idle_since();
            let now = Instant::now();
            // Whoever is busy is looked at again later: it may have been idle since just after this look.
            let looked_at = |limit: Duration| idle_since.unwrap_or(now) + limit;
            let look_at = match self.state {
                State::Opening(until) => until,
                State::Open => looked_at(IDLE).min(self.old_at.unwrap_or(now + IDLE)),
                State::Closing(closing) => self.over_at(closing, now),
            };
            let closing = if let State::Closing(closing) = self.state { Some(closing) } else { None };
            let stopping = closing.is_some_and(|closing| closing.stopping);
            tokio::select! {
                () = sleep_until(look_at) => {}
                () = async { if stopping { pending().await } else { stopped(stop.clone()).await } } => {
                    let until = closing.and_then(|closing| closing.until);
                    self.state = State::Closing(Closing { since: Instant::now(), until, stopping: true });
                    if closing.is_none() {
                        return Step::Close;
                    }
                    continue;
                }
            }
            let now = Instant::now();
            let idle = |limit| self.requests.idle_since().is_some_and(|since| since + limit <= now);
            match self.state {
                State::Opening(_) if self.requests.bytes() < PREFACE && idle(OPENING) => return Step::Drop,
                State::Opening(_) => self.state = State::Open,
                State::Open if self.old_at.is_some_and(|at| at <= now) || idle(IDLE) => {
                    self.state = State::Closing(Closing { since: now, until: Some(now + AGE_GRACE), stopping: false });
                    return Step::Close;
                }
                State::Open => {}
                State::Closing(closing) if self.over_at(closing, now) <= now => return Step::Drop,
                State::Closing(_) => {}
            }
        }
    }

    /// The moment when a connection that is being closed is over, if nothing happens until then. Whoever is to be waited for is
    /// looked at again after a while.
    fn over_at(&self, Closing { since, until, stopping }: Closing, now: Instant) -> Instant {
        let patience = if self.requests.idle_since().is_some() {
            Some(LAST_WORDS)
        } else {
            Some(UNREAD).filter(|_| stopping && self.requests.all_answered())
        };
        // Read after what it belongs to: the last answer may have ended just now.
        let quiet_since = since.max(self.requests.changed_at()).max(self.requests.written_at());
        let quiet_until = patience.map_or(now + LAST_WORDS, |patience| quiet_since + patience);
        until.map_or(quiet_until, |until| until.min(quiet_until))
    }
}

/// An age that differs by up to a tenth, so that connections which were opened together are not closed together.
fn jittered(age: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 2001;
    age.mul_f64(0.9 + 0.0001 * f64::from(u16::try_from(random).unwrap_or(1000)))
}

/// Waits until the port stops.
pub(super) async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender outlives the ports; if it did not, stopping would be right as well.
    drop(stop.wait_for(|stop| *stop).await);
}
