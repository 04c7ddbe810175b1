//! Verifies access tokens in this process.

use std::{sync::Arc, time::Duration};

use countersign_proto::v1::{self, VerifyRequest, auth_service_client::AuthServiceClient};
use countersign_token::verifier::Requirements;
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use crate::{
    demand::Demand,
    endpoints::Connection,
    error::{Error, REVOCATIONS_STALE, with_reason},
    principal::{Authenticated, Principal},
    shared::{Event, Shared},
};

/// The time that the service has to answer about a token.
const ASKED_WITHIN: Duration = Duration::from_secs(2);
/// Reasons for which a service's tokens will never be verified here: its keys are secret, or it says what is not understood.
const HOPELESS: [&str; 2] = ["SIGNING_KEY_SECRET", "UNKNOWN_REVOCATION"];

/// Verifies access tokens in this process. Clones share what they know.
///
/// ```no_run
/// use countersign_client::{Authenticated, Endpoints, Verifier};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoints = Endpoints::new(["http://auth-1:50051", "http://auth-2:50051"])?;
/// let verifier = Verifier::builder(endpoints).audience("orders").start();
/// verifier.ready().await?;
///
/// // A layer for tonic and axum: it refuses requests without a valid token, and puts `Authenticated` into their extensions.
/// let _layer = verifier.require().role("clerk").public("/grpc.health.v1.Health/Check");
///
/// // Or by hand.
/// let caller: Authenticated = verifier.verify("eyJ...").await?;
/// println!("{} with {:?}", caller.user_id, caller.roles);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Verifier {
    shared: Arc<Shared>,
    demand: Demand,
    fallback: Fallback,
    connections: Arc<[Connection]>,
    _following: Arc<Following>,
}

/// The task that follows the service, until the last clone of the verifier is dropped.
#[derive(Debug)]
struct Following(AbortHandle);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer about a token when too little is known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Refuses: [`Error::Unavailable`].
    #[default]
    Refuse,
    /// Asks the service (`AuthService.Verify`), one replica after the other.
    RemoteVerify,
}

impl Verifier {
    /// A verifier that knows what the follower of these tasks finds out.
    pub(crate) fn new(
        shared: Arc<Shared>,
        demand: Demand,
        fallback: Fallback,
        connections: Arc<[Connection]>,
        following: AbortHandle,
    ) -> Self {
        Self { shared, demand, fallback, connections, _following: Arc::new(Following(following)) }
    }

    /// Waits until tokens can be verified. With [`Fallback::RemoteVerify`] that is at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with SIGNING_KEY_SECRET for a service that signs by HS256: it publishes no keys. With
    /// UNKNOWN_REVOCATION for one that is newer than this client.
    pub async fn ready(&self) -> Result<(), Error> {
        if self.fallback == Fallback::RemoteVerify {
            return Ok(());
        }
        let mut lacks = self.shared.lacks.subscribe();
        loop {
            match &*lacks.borrow_and_update() {
                None => return Ok(()),
                // These will not get better.
                Some(error) if HOPELESS.contains(&error.reason()) => return Err(error.clone()),
                Some(_) => {}
            }
            // The sender lives as long as this.
            if lacks.changed().await.is_err() {
                return Err(Error::Unavailable(REVOCATIONS_STALE));
            }
        }
    }

    /// True if tokens can be verified at this moment, without asking the service.
    pub fn is_fresh(&self) -> bool {
        self.shared.with_verifier(|_| Ok(self.shared.state.fresh(None)?)).is_ok()
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]; [`Error::Unavailable`] when nothing can be said.
    pub async fn verify(&self, token: &str) -> Result<Authenticated, Error> {
        self.verify_for(token, &self.demand).await
    }

    /// Verifies a token, and that it meets a demand.
    ///
    /// # Errors
    /// As for [`Verifier::verify`]; [`Error::Forbidden`] for a role that is missing.
    pub async fn verify_for(&self, token: &str, demand: &Demand) -> Result<Authenticated, Error> {
        let answer = match self.in_memory(token, demand) {
            Err(error) if error.is_outage() && self.fallback == Fallback::RemoteVerify => {
                self.shared.tell(&Event::AskedService);
                self.ask(token, demand).await
            }
            answer => answer,
        };
        let answer = answer.and_then(|caller| demand.check(&caller).map(|()| caller));
        self.shared.tell(&match &answer {
            Ok(_) => Event::Accepted,
            Err(error) => Event::Refused { error },
        });
        answer
    }

    /// Verifies a token by what is known here, whatever the fallback is.
    ///
    /// # Errors
    /// As for [`Verifier::verify`].
    pub fn verify_now(&self, token: &str) -> Result<Authenticated, Error> {
        self.in_memory(token, &self.demand)
    }

    fn in_memory(&self, token: &str, demand: &Demand) -> Result<Authenticated, Error> {
        in_memory(&self.shared, token, demand.audience.as_deref().or(self.demand.audience.as_deref()))
    }

    /// Asks one replica after the other.
    async fn ask(&self, token: &str, demand: &Demand) -> Result<Authenticated, Error> {
        let audience = demand.audience.clone().or_else(|| self.demand.audience.clone()).unwrap_or_default();
        let until = Instant::now() + ASKED_WITHIN;
        let mut last = Error::Unavailable(REVOCATIONS_STALE);
        let share = ASKED_WITHIN / u32::try_from(self.connections.len()).unwrap_or(1).max(1);
        for connection in self.connections.iter() {
            let request =
                VerifyRequest { access_token: token.to_owned(), audience: audience.clone(), max_staleness: None };
            let mut client = AuthServiceClient::new(connection.clone());
            let answer = timeout_at(until.min(Instant::now() + share), client.verify(request)).await;
            last = match answer.map(|answer| answer.map(tonic::Response::into_inner)) {
                Ok(Ok(v1::VerifyResponse { principal: Some(principal), .. })) => {
                    return Ok(Authenticated(Arc::new(principal.into())));
                }
                // Anything else befell this service's own call, and says nothing of the token.
                Ok(Err(status)) => match Error::of(with_reason(status)) {
                    Error::Unauthenticated(reason) if reason.as_str().starts_with("TOKEN_") => {
                        return Err(Error::Unauthenticated(reason));
                    }
                    error => error.into_outage(),
                },
                Ok(Ok(_)) | Err(_) => Error::Unavailable(REVOCATIONS_STALE),
            };
        }
        Err(last)
    }
}

/// Verifies a token by what is known here.
pub(crate) fn in_memory(shared: &Shared, token: &str, audience: Option<&str>) -> Result<Authenticated, Error> {
    let requirements = Requirements { audience, max_staleness: None };
    shared.with_verifier(|verifier| {
        let (verified, _) = verifier.verify(token, requirements)?;
        let principal = verified.kept.get_or_init(|| Arc::new(Principal::from(&verified.principal)));
        Ok(Authenticated(Arc::clone(principal)))
    })
}
