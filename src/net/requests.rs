//! The requests under way on a connection, so that it is not closed under one, and is closed when there are none for long.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tower::Service;

use super::peer::Peer;

/// The history of a connection: bytes, and requests.
#[derive(Debug)]
pub(super) struct Requests {
    opened_at: Instant,
    bytes: AtomicUsize,
    /// Milliseconds after the opening when the other end last took bytes.
    written_at: AtomicU64,
    under_way: AtomicUsize,
    /// Requests whose answer has not begun.
    unanswered: AtomicUsize,
    /// Milliseconds after the opening when the last answer began or ended.
    changed_at: AtomicU64,
}

impl Requests {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened_at: Instant::now(),
            bytes: AtomicUsize::new(0),
            written_at: AtomicU64::new(0),
            under_way: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            changed_at: AtomicU64::new(0),
        })
    }

    /// Bytes that the other end has sent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The moment since which no request is under way; None while one is. Before the first, the moment of the opening.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.under_way.load(Ordering::Acquire) == 0;
        idle.then(|| self.changed_at())
    }

    /// The moment when an answer last began or ended; that of the opening before any.
    pub(super) fn changed_at(&self) -> Instant {
        self.moment(&self.changed_at)
    }

    /// True if each request has its answer, or the beginning of one.
    pub(super) fn all_answered(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) == 0
    }

    /// The moment when the other end last took bytes; that of the opening before any.
    pub(super) fn written_at(&self) -> Instant {
        self.moment(&self.written_at)
    }

    fn moment(&self, millis: &AtomicU64) -> Instant {
        self.opened_at + Duration::from_millis(millis.load(Ordering::Acquire))
    }

    fn note(&self, millis: &AtomicU64) {
        let now = u64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        millis.store(now, Ordering::Release);
    }

    fn note_written(&self, written: &Poll<std::io::Result<usize>>) {
        if written.is_ready() {
            self.note(&self.written_at);
        }
    }

    fn begin(self: &Arc<Self>) -> (UnderWay, Unanswered) {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        self.unanswered.fetch_add(1, Ordering::AcqRel);
        (UnderWay(Arc::clone(self)), Unanswered(Arc::clone(self)))
    }
}

/// A request whose answer has not begun; it has when this is dropped.
#[derive(Debug)]
struct Unanswered(Arc<Requests>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.note(&self.0.changed_at);
        self.0.unanswered.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A request under way; it ends when this is dropped.
#[derive(Debug)]
struct UnderWay(Arc<Requests>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.note(&self.0.changed_at);
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A service that is told of the peer, and whose requests are counted until their answers have been sent.
#[derive(Clone, Debug)]
pub(super) struct Counted<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) requests: Arc<Requests>,
}

impl<S, In, Out> Service<Request<In>> for Counted<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = Response<CountedBody<Out>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<In>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        let (under_way, unanswered) = self.requests.begin();
        let response = self.service.call(request);
        Box::pin(async move {
            let response = response.await;
            drop(unanswered);
            Ok(response?.map(|body| CountedBody { body, _under_way: under_way }))
        })
    }
}

/// The body of an answer: its request is under way until it has been sent, or given up.
#[derive(Debug)]
pub(super) struct CountedBody<B> {
    body: B,
    _under_way: UnderWay,
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose bytes are counted as they arrive.
#[derive(Debug)]
pub(super) struct Heard<I> {
    pub(super) io: I,
    pub(super) requests: Arc<Requests>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Heard<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        this.requests.bytes.fetch_add(buf.filled().len().saturating_sub(before), Ordering::Relaxed);
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Heard<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.requests.note_written(&written);
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.requests.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Empty;
    use tower::service_fn;

    use super::*;

    #[tokio::test]
    async fn a_request_is_under_way_until_its_answer_has_been_sent() {
        let requests = Requests::new();
        let service = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(Empty::<&[u8]>::new())) });
        let mut service = Counted { service, peer: Peer::default(), requests: Arc::clone(&requests) };
        let asked = service.call(Request::new(()));
        assert!(requests.idle_since().is_none() && !requests.all_answered());
        let answer = asked.await.expect("an answer");
        assert!(requests.idle_since().is_none() && requests.all_answered(), "its bytes are on their way");
        drop(answer);
        assert!(requests.idle_since().is_some());
        drop(service.call(Request::new(())));
        assert!(requests.idle_since().is_some() && requests.all_answered(), "given up");
    }
}
