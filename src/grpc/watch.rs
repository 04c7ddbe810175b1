//! WatchRevocations: one task for each subscriber, which waits for the state to become fresher and then sends what is new.
//! A subscriber that reads slowly holds up its own task alone, and is told what it has missed when it reads on.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use countersign_token::{algorithm::Algorithm, clock::BootInstant, revocation::Revocation};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;
use uuid::Uuid;

use super::{encode, status::status, v1, v1::watch_revocations_response::Event};
use crate::{
    auth::Auth,
    domain::revocation::Position,
    error::Error,
    net::{Full, Place},
    revocation::feed::News,
};

/// The longest pause between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The least pause between two heartbeats.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
/// The most revocations in a message.
const PART: usize = 256;
/// Messages that wait for a slow reader, and for how long it may take none. Few and small: all streams may have such readers.
const BUFFERED: usize = 1;
const PATIENCE: Duration = Duration::from_secs(30);
/// Time for which a reader may take a snapshot, which stays in memory meanwhile. There is another one each ten seconds.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(120);
/// Duration of a stream: the clocks of both ends run apart.
const LIFE: Duration = Duration::from_secs(3600);

/// An event, or the reason why there are no more.
type Told = Result<v1::WatchRevocationsResponse, Status>;

/// The events that a subscriber receives.
pub(super) struct Events {
    received: ReceiverStream<Told>,
    _place: Kept,
}

impl Stream for Events {
    type Item = Told;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Told>> {
        Pin::new(&mut self.received).poll_next(cx)
    }
}

/// A place among the streams, taken as long as there is anything of one. A stream that is not read keeps what was sent in
/// memory, also when its watcher has given up.
type Kept = Arc<Place<String>>;

struct Watcher {
    auth: Arc<Auth>,
    outbox: Outbox,
    /// The moment at which the call began.
    began: BootInstant,
    /// The position up to which the subscriber knows the log.
    position: Option<Position>,
    jwks: String,
    _place: Kept,
}

/// The way to a subscriber.
#[derive(Clone)]
struct Outbox(mpsc::Sender<Told>);

/// Reasons for which a subscriber is told no more.
#[derive(Debug)]
enum End {
    /// The subscriber has gone, or reads nothing, or is to call again.
    Gone,
    /// The subscriber is told this error.
    Because(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Because(error)
    }
}

/// Begins a stream, which ends when `drain` says so.
///
/// # Errors
/// [`Error::RevocationsStale`], [`Error::SigningKeySecret`]; [`Error::Overloaded`] without a place.
pub(super) fn watch(
    auth: Arc<Auth>,
    position: &str,
    drain: watch::Receiver<bool>,
    place: Result<Place<String>, Full>,
) -> Result<Events, Error> {
    auth.revocations().state().fresh(None)?;
    refuse_secrets(&auth)?;
    let place = Arc::new(place.map_err(|_| Error::Overloaded { retry_after: HEARTBEAT })?);
    let (outbox, events) = channel(&place);
    let (began, position) = (auth.base.clock.boot(), read(position));
    let watcher = Watcher { auth, outbox, began, position, jwks: String::new(), _place: place };
    tokio::spawn(watcher.run(drain));
    Ok(events)
}

/// Both ends of a stream that has a place.
fn channel(place: &Kept) -> (Outbox, Events) {
    let (events, received) = mpsc::channel(BUFFERED);
    (Outbox(events), Events { received: ReceiverStream::new(received), _place: Arc::clone(place) })
}

/// A key that verifies by what signs is given to nobody.
fn refuse_secrets(auth: &Auth) -> Result<(), Error> {
    match auth.keys.ring().signing()?.algorithm() {
        Algorithm::Hs256 => Err(Error::SigningKeySecret),
        Algorithm::EdDsa | Algorithm::Es256 | Algorithm::Rs256 => Ok(()),
    }
}

impl Watcher {
    async fn run(mut self, mut drain: watch::Receiver<bool>) {
        let outbox = self.outbox.clone();
        let ended = tokio::select! {
            end = self.tell() => end,
            () = sleep(LIFE) => End::Gone,
            Ok(_) = drain.wait_for(|drain| *drain) => End::Because(Error::ShuttingDown),
        };
        if let End::Because(error) = ended {
            drop(outbox.tell(Err(status(error))).await);
        }
    }

    async fn tell(&mut self) -> End {
        let mut published = self.auth.revocations().freshness_changes();
        let mut told_at = None;
        loop {
            published.mark_unchanged();
            let complete_as_of = match self.tell_what_is_new().await {
                Ok(moment) => Some(moment),
                Err(end) => return end,
            };
            // At its own pace, however often the follower heartbeats: strangers can make it do so.
            if told_at.is_none_or(|told_at: Instant| told_at.elapsed() >= LEAST_PAUSE) {
                let sent_at = encode::timestamp(self.auth.base.clock.now());
                let heartbeat = v1::RevocationHeartbeat { complete_as_of, sent_at };
                if let Err(end) = self.outbox.send(Event::Heartbeat(heartbeat)).await {
                    return end;
                }
                told_at = Some(Instant::now());
            }
            let due = told_at.unwrap_or_else(Instant::now) + HEARTBEAT;
            // The sender lives as long as the server.
            drop(timeout_at(due, published.changed()).await);
        }
    }

    /// Tells keys and revocations, and gives the moment as of which that was all.
    async fn tell_what_is_new(&mut self) -> Result<prost_types::Duration, End> {
        // Read before what it covers.
        let freshness = self.auth.revocations().state().fresh(None).map_err(Error::from)?;
        refuse_secrets(&self.auth)?;
        let ring = self.auth.keys.ring().jwks()?.json;
        if ring != self.jwks {
            self.jwks.clone_from(&ring);
            let issuer = self.auth.token_policy.issuer.clone();
            self.outbox.send(Event::Keys(v1::SigningKeys { jwks: ring, issuer })).await?;
        }
        while self.tell_news().await? {}
        Ok(self.since_it_began(freshness.as_of_boot()))
    }

    /// Says whether there may be more: additions come in parts, and a snapshot serves many, and is a little old.
    async fn tell_news(&mut self) -> Result<bool, End> {
        let position = match self.auth.revocations().changes_since(self.position).await {
            News::Nothing => return Ok(false),
            News::Added(added, position) => {
                let event = |revocations, position| Event::Additions(v1::RevocationAdditions { revocations, position });
                self.outbox.send_parts(&added, position, event).await?;
                position
            }
            News::Everything(all, position) => {
                self.outbox.send_snapshot(&all, position, SNAPSHOT_PATIENCE).await?;
                position
            }
        };
        self.position = Some(position);
        Ok(true)
    }

    fn since_it_began(&self, moment: BootInstant) -> prost_types::Duration {
        let nanos = i128::from(moment.as_nanos()) - i128::from(self.began.as_nanos());
        let second = 1_000_000_000;
        prost_types::Duration {
            seconds: i64::try_from(nanos / second).unwrap_or(i64::MIN),
            nanos: i32::try_from(nanos % second).unwrap_or(0),
        }
    }
}

impl Outbox {
    /// Sends everything. Gives up a reader that takes longer for it all, however often it takes a part.
    async fn send_snapshot(&self, all: &[Revocation], position: Position, patience: Duration) -> Result<(), End> {
        let event = |revocations, position| Event::Snapshot(v1::RevocationSnapshot { revocations, position });
        timeout(patience, self.send_parts(all, position, event)).await.unwrap_or(Err(End::Gone))
    }

    /// Sends revocations in parts of a size that fits a message; the last part carries the position. There is always a
    /// last part.
    async fn send_parts(
        &self,
        all: &[Revocation],
        position: Position,
        event: impl Fn(Vec<v1::Revocation>, String) -> Event,
    ) -> Result<(), End> {
        let mut rest = all;
        loop {
            let (part, after) = rest.split_at(rest.len().min(PART));
            let last = after.is_empty();
            let position = if last { write(position) } else { String::new() };
            self.send(event(part.iter().filter_map(encode::revocation).collect(), position)).await?;
            if last {
                return Ok(());
            }
            rest = after;
        }
    }

    async fn send(&self, event: Event) -> Result<(), End> {
        self.tell(Ok(v1::WatchRevocationsResponse { event: Some(event) })).await
    }

    async fn tell(&self, told: Told) -> Result<(), End> {
        match timeout(PATIENCE, self.0.send(told)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}

/// A position as subscribers keep it.
fn write(position: Position) -> String {
    format!("{}:{}", position.seq, position.id.unwrap_or_default().simple())
}

/// The inverse of [`write`]; None for what is none.
fn read(text: &str) -> Option<Position> {
    let (seq, id) = text.split_once(':')?;
    let id = Uuid::try_parse(id).ok()?;
    Some(Position { seq: seq.parse().ok()?, id: Some(id).filter(|id| !id.is_nil()) })
}

#[cfg(test)]
mod tests {
    use countersign_token::{ids::SessionId, revocation::Subject};
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::net::Places;

    fn place(streams: &Arc<Places<String>>) -> Kept {
        Arc::new(streams.take(None).expect("a place"))
    }

    /// Streams that nobody reads would else be left behind, and others begin in their places.
    #[tokio::test]
    async fn a_stream_that_is_not_read_keeps_its_place_when_its_watcher_has_given_up() {
        let streams = Places::new(1, 1);
        let (outbox, mut events) = channel(&place(&streams));
        let told = || Event::Heartbeat(v1::RevocationHeartbeat::default());
        outbox.send(told()).await.expect("there is room");
        drop(outbox);
        assert_eq!(streams.taken(), 1, "its message is still in memory");
        assert!(events.next().await.is_some_and(|told| told.is_ok()) && events.next().await.is_none());
        drop(events);
        assert_eq!(streams.taken(), 0);
    }

    #[tokio::test]
    async fn many_revocations_are_told_in_small_parts_the_last_with_the_position() {
        let (outbox, events) = channel(&place(&Places::new(1, 1)));
        let session = Subject::Session(SessionId(Uuid::nil()));
        let all = vec![Revocation { subject: session, expires_at: time::OffsetDateTime::UNIX_EPOCH }; 2 * PART + 1];
        let position = Position { seq: 7, id: None };
        let event = |revocations, position| Event::Snapshot(v1::RevocationSnapshot { revocations, position });
        let sending = tokio::spawn(async move { outbox.send_parts(&all, position, event).await });
        let parts: Vec<_> = events.map(|told| told.expect("no end").event).collect().await;
        sending.await.expect("joined").expect("taken");
        let parts: Vec<_> = parts
            .into_iter()
            .map(|event| match event {
                Some(Event::Snapshot(part)) => (part.revocations.len(), read(&part.position)),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(parts, [(PART, None), (PART, None), (1, Some(position))]);
    }

    /// A snapshot stays in memory while it is read, so that it is not enough to read it now and then.
    #[tokio::test]
    async fn a_snapshot_that_is_read_slowly_is_given_up() {
        let session = Subject::Session(SessionId(Uuid::nil()));
        let all = vec![Revocation { subject: session, expires_at: time::OffsetDateTime::UNIX_EPOCH }; 1000 * PART];
        let position = Position { seq: 7, id: None };
        let (outbox, mut events) = channel(&place(&Places::new(1, 1)));
        // The reader takes each part at once, and all of them take longer than this nevertheless.
        let reading = async { while events.next().await.is_some() {} };
        tokio::select! {
            sent = outbox.send_snapshot(&all, position, Duration::from_millis(1)) => {
                assert!(matches!(sent, Err(End::Gone)), "a thousand parts take longer");
            }
            () = reading => panic!("it goes on"),
        }
        let (outbox, events) = channel(&place(&Places::new(1, 1)));
        let sending = tokio::spawn(async move { outbox.send_snapshot(&all, position, Duration::from_secs(60)).await });
        assert_eq!(events.collect::<Vec<_>>().await.len(), 1000);
        sending.await.expect("joined").expect("taken in time");
    }
}
