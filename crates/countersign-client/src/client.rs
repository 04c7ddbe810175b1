//! The calls of the contract, with deadlines, and retries where the contract says that these are safe.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_proto::v1::{self, auth_service_client::AuthServiceClient};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Request, Status};

use crate::{
    endpoints::{Connection, Endpoints},
    error::{Error, with_reason},
};

/// The time that a call may take with all its retries, unless it is set.
const DEADLINE: Duration = Duration::from_secs(5);
/// Rounds through all replicas.
const ROUNDS: usize = 2;
const PAUSE: Duration = Duration::from_millis(50);

/// Calls Countersign. Clones share connections.
#[derive(Clone, Debug)]
pub struct Countersign {
    connections: Arc<[Connection]>,
    /// The replica that answered last.
    preferred: Arc<AtomicUsize>,
    deadline: Duration,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $response:ident;)*) => {
        impl Countersign {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As the contract says, by [`Error::reason`].
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, Error> {
                    self.call(request, async |mut client: Client, request| client.$name(request).await).await
                }
            )*
        }
    };
}

type Client = AuthServiceClient<Connection>;

calls! {
    /// Checks a password and opens a session. A lost answer is asked for again: it leaves a session that nobody holds.
    login(LoginRequest) -> LoginResponse;
    /// Asks the service whose an access token is. A [`Verifier`](crate::Verifier) knows that without a call.
    verify(VerifyRequest) -> VerifyResponse;
    /// Asks the service whose many access tokens are.
    verify_batch(VerifyBatchRequest) -> VerifyBatchResponse;
    /// Exchanges a refresh token. A lost answer is asked for again with the same token (promise P2).
    refresh(RefreshRequest) -> RefreshResponse;
    /// Ends sessions.
    revoke(RevokeRequest) -> RevokeResponse;
    /// Lists the live sessions of a user.
    list_sessions(ListSessionsRequest) -> ListSessionsResponse;
    /// Reads the public keys.
    get_jwks(GetJwksRequest) -> GetJwksResponse;
}

impl Countersign {
    /// Calls these replicas: one, and another when that one is away.
    pub fn new(endpoints: &Endpoints) -> Self {
        let preferred = Arc::new(AtomicUsize::new(0));
        Self { connections: endpoints.connections(), preferred, deadline: DEADLINE }
    }

    /// Sets the time that a call may take with all its retries; 5 seconds unless set.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes a call that is safe to make again, at one replica after the other.
    async fn call<Q: Clone, A>(
        &self,
        message: Q,
        call: impl AsyncFn(Client, Request<Q>) -> Result<tonic::Response<A>, Status>,
    ) -> Result<A, Error> {
        let until = Instant::now() + self.deadline;
        let count = self.connections.len();
        let mut last = Error::of(Status::unavailable("no replica"));
        let first = self.preferred.load(Ordering::Relaxed);
        for attempt in 0..count.max(2) * ROUNDS {
            let place = (first + attempt) % count.max(1);
            let Some(connection) = self.connections.get(place) else { break };
            if attempt > 0 && attempt % count.max(1) == 0 {
                sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            // One that hangs leaves time for the others.
            let share = if count > 1 { left / 2 } else { left };
            let mut request = Request::new(message.clone());
            request.set_timeout(share);
            let client = AuthServiceClient::new(connection.clone());
            last = match timeout_at(Instant::now() + share, call(client, request)).await {
                Ok(Ok(answer)) => {
                    self.preferred.store(place, Ordering::Relaxed);
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) if status.code() == tonic::Code::ResourceExhausted => {
                    // Whoever is asked to wait is not helped by asking at once.
                    return Err(Error::of(with_reason(status)));
                }
                Ok(Err(status)) => Error::of(with_reason(status)),
                Err(_) => Error::of(Status::deadline_exceeded("no answer in time")),
            };
            if !last.is_outage() {
                return Err(last);
            }
        }
        Err(last)
    }
}
