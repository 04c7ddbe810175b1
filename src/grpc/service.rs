//! The parts that the services of our contract share: the operations, and the way from a call to its answer.

use std::{future::Future, sync::Arc, time::Duration};

use countersign_token::revocation::MAX_STALENESS;
use tokio::{sync::watch, time::Instant};
use tonic::{Response, Status, metadata::MetadataMap};

use super::{deadline::timeout, encode, status::status, v1};
use crate::{auth::Auth, error::Error, net::Places, revocation::changes::Revoked};

/// Time that an answer needs to reach the caller.
const ANSWER: Duration = Duration::from_millis(50);

/// Serves both AuthService and UserService.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// The operations.
    pub auth: Arc<Auth>,
    /// Says when streams have to end.
    pub drain: watch::Receiver<bool>,
    /// The streams of revocations.
    pub streams: Arc<Places<String>>,
}

/// The most streams of revocations at once, and those of one caller.
const MAX_STREAMS: usize = 4096;
const MAX_STREAMS_OF_CALLER: usize = 1024;

impl Service {
    /// The services of these operations, until `drain` says so.
    pub(super) fn new(auth: Arc<Auth>, drain: watch::Receiver<bool>) -> Self {
        Self { auth, drain, streams: Places::new(MAX_STREAMS, MAX_STREAMS_OF_CALLER) }
    }

    /// The answer to what was ended, once the other replicas have confirmed it or the caller can wait no longer.
    pub(super) async fn confirm(&self, revoked: Revoked, confirm_by: ConfirmationDeadline) -> v1::RevokeResponse {
        let confirmation = self.auth.base.log.confirm(&revoked.committed, confirm_by.left()).await;
        encode::revoked(revoked, confirmation)
    }
}

/// Longest time for which a caller can be kept waiting: what it asks for, as long as an answer still reaches it before
/// its deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfirmationDeadline {
    wait: Duration,
    ends_at: Option<Instant>,
}

impl ConfirmationDeadline {
    /// The deadline of the caller of `metadata`, who has just called.
    pub(super) fn of(metadata: &MetadataMap, wait: Duration) -> Self {
        Self { wait, ends_at: deadline(metadata) }
    }

    /// Time that is left of the deadline now.
    pub(super) fn left(self) -> Duration {
        let until_deadline = self.ends_at.map(|at| at.saturating_duration_since(Instant::now()));
        self.wait.min(until_deadline.unwrap_or(Duration::MAX)).min(MAX_STALENESS)
    }
}

/// The moment until which an answer still reaches the caller of `metadata`, who has just called; None for one without a
/// deadline. Nobody waits for longer than [`MAX_STALENESS`], whatever deadline it gives.
pub(super) fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    let timeout = timeout(metadata.as_ref())?.min(MAX_STALENESS);
    Instant::now().checked_add(timeout.saturating_sub(ANSWER))
}

/// Turns the outcome of a call into its answer.
pub(super) async fn respond<T>(call: impl Future<Output = Result<T, Error>>) -> Result<Response<T>, Status> {
    call.await.map(Response::new).map_err(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_beyond_all_that_can_be_waited_for_counts_as_the_longest() {
        let metadata = |timeout: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", timeout.parse().expect("metadata"));
            metadata
        };
        let left = |timeout: &str| deadline(&metadata(timeout)).map(|at| at - Instant::now());
        let longest = left("99999999H").expect("a deadline");
        assert!(longest <= MAX_STALENESS && longest > MAX_STALENESS - Duration::from_secs(60), "{longest:?}");
        assert!(left("10S").expect("a deadline") < Duration::from_secs(10));
        assert_eq!(deadline(&MetadataMap::new()), None);
    }
}
