//! WatchRevocations: one task for each subscriber, which waits for the state to become fresher and then sends what is new.
//! A subscriber that reads slowly holds up its own task alone, and is told what it has missed when it reads on.

use std::{sync::Arc, time::Duration};

use countersign_token::{algorithm::Algorithm, clock::BootInstant, revocation::Revocation};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use uuid::Uuid;

use super::{encode, status::status, v1, v1::watch_revocations_response::Event};
use crate::{auth::Auth, domain::revocation::Position, error::Error, revocation::feed::News};

/// The longest pause between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The least pause between two heartbeats.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
/// The most revocations in a message.
const PART: usize = 1000;
/// Messages that wait for a slow reader, and for how long it may take none.
const BUFFERED: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);
/// Duration of a stream: the clocks of both ends run apart.
const LIFE: Duration = Duration::from_secs(3600);

/// The events that a subscriber receives.
pub(super) type Events = ReceiverStream<Result<v1::WatchRevocationsResponse, Status>>;

struct Watcher {
    auth: Arc<Auth>,
    events: mpsc::Sender<Result<v1::WatchRevocationsResponse, Status>>,
    /// The moment at which the call began.
    began: BootInstant,
    /// The position up to which the subscriber knows the log.
    position: Option<Position>,
    jwks: String,
    _stream: OwnedSemaphorePermit,
}

/// Reasons for which a subscriber is told no more.
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
/// [`Error::RevocationsStale`], [`Error::SigningKeySecret`]; [`Error::Overloaded`] when `streams` are all taken.
pub(super) fn watch(
    auth: Arc<Auth>,
    position: &str,
    drain: watch::Receiver<bool>,
    streams: &Arc<Semaphore>,
) -> Result<Events, Error> {
    auth.revocations().state().fresh(None)?;
    refuse_secrets(&auth)?;
    let stream = Arc::clone(streams).try_acquire_owned();
    let stream = stream.map_err(|_| Error::Overloaded { retry_after: HEARTBEAT })?;
    let (events, received) = mpsc::channel(BUFFERED);
    let (began, position) = (auth.base.clock.boot(), read(position));
    let watcher = Watcher { auth, events, began, position, jwks: String::new(), _stream: stream };
    tokio::spawn(watcher.run(drain));
    Ok(ReceiverStream::new(received))
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
        let events = self.events.clone();
        let ended = tokio::select! {
            end = self.tell() => end,
            () = sleep(LIFE) => End::Gone,
            _ = drain.wait_for(|drain| *drain) => End::Because(Error::ShuttingDown),
        };
        if let End::Because(error) = ended {
            drop(events.send(Err(status("watch_revocations", error))).await);
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
                if let Err(end) = self.send(Event::Heartbeat(v1::RevocationHeartbeat { complete_as_of })).await {
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
            self.send(Event::Keys(v1::SigningKeys { jwks: ring, issuer })).await?;
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
                self.send_parts(&added, position, event).await?;
                position
            }
            News::Everything(all, position) => {
                let event = |revocations, position| Event::Snapshot(v1::RevocationSnapshot { revocations, position });
                self.send_parts(&all, position, event).await?;
                position
            }
        };
        self.position = Some(position);
        Ok(true)
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

    fn since_it_began(&self, moment: BootInstant) -> prost_types::Duration {
        let nanos = i128::from(moment.as_nanos()) - i128::from(self.began.as_nanos());
        let second = 1_000_000_000;
        prost_types::Duration {
            seconds: i64::try_from(nanos / second).unwrap_or(i64::MIN),
            nanos: i32::try_from(nanos % second).unwrap_or(0),
        }
    }

    async fn send(&self, event: Event) -> Result<(), End> {
        let response = v1::WatchRevocationsResponse { event: Some(event) };
        match timeout(PATIENCE, self.events.send(Ok(response))).await {
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
