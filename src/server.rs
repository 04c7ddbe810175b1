//! A running server: built from checked settings, served on ports that the caller has bound, drained at the end.
//! `serve`, `dev` and the tests all come through here.

mod background;
mod ports;
mod stop;

use std::{sync::Arc, time::Duration};

use countersign_token::clock::Clock;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

pub use self::{
    ports::Ports,
    stop::{Stop, StopRequests},
};

use crate::{
    audit::AuditLog,
    auth::{Accounts, Auth, base::Base, passwords::Passwords},
    authz::Authorizer,
    config::Policies,
    crypto::seal::MasterKeys,
    domain::{audit::Actor, policy::AuthzPolicy},
    edge::Callers,
    error::Error,
    grpc::{GrpcPorts, Health},
    metrics::Metrics,
    revocation::{follower::Follower, log::RevocationLog},
    store::Store,
};

/// The parts that a server is built from.
#[derive(Debug)]
pub struct Config {
    /// Policies of the parts.
    pub policies: Policies,
    /// Time for which a stop goes on serving while it says that it is not ready.
    pub lame_duck: Duration,
    /// Time for which a stop waits for calls under way.
    pub drain_timeout: Duration,
    /// The database.
    pub store: Store,
    /// Open the stored keys.
    pub master_keys: MasterKeys,
    /// The callers, and what they may do.
    pub callers: Callers,
    /// The clock.
    pub clock: Clock,
}

/// A server that has its keys, and follows revocations.
#[derive(Debug)]
pub struct Server {
    auth: Arc<Auth>,
    authz: AuthzPolicy,
    callers: Callers,
    lame_duck: Duration,
    drain_timeout: Duration,
    following: Following,
}

/// The tasks that follow revocations and the other replicas. They end when this is dropped.
#[derive(Debug)]
struct Following {
    leave: watch::Sender<bool>,
    follower: JoinSet<()>,
    confirming: JoinSet<()>,
}

/// The longest time that a server which is to end at once takes to say that it leaves.
const FAREWELL: Duration = Duration::from_secs(1);

impl Server {
    /// Starts the hashing threads, and reads the blocklist of passwords. Reads the keys or makes them. Looks at the kinds of
    /// stored hashes, and begins to follow revocations.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the blocklist, [`Error::DatabaseUnavailable`], [`Error::Internal`] for keys that do not
    /// open.
    pub async fn build(config: Config) -> Result<Self, Error> {
        let Policies { keys, tokens, authz, .. } = config.policies.clone();
        let accounts = accounts(config.store, config.policies, Actor::Administrator, config.clock)?;
        if let Some(entries) = accounts.passwords.load_rules()? {
            tracing::info!(entries, "read the blocklist of passwords");
        }
        let auth = Arc::new(Auth::new(accounts, config.master_keys, keys, tokens));
        auth.keys.start().await?;
        // What hinders Login, which waits for this, does not hinder Verify.
        if let Err(error) = auth.sample_hashes().await {
            tracing::warn!(%error, "nobody can log in yet: the kinds of password hashes could not be looked at");
        }
        let following = Following::start(&auth);
        let Config { callers, lame_duck, drain_timeout, .. } = config;
        Ok(Self { auth, authz, callers, lame_duck, drain_timeout, following })
    }

    /// The operations, for those who run in the same process.
    pub fn auth(&self) -> Arc<Auth> {
        Arc::clone(&self.auth)
    }

    /// The decisions about requests that proxies ask about.
    pub fn authorizer(&self) -> Authorizer {
        Authorizer::new(self.auth(), self.authz.clone(), self.callers.policy.clone())
    }

    /// Waits until Verify can answer.
    pub async fn ready(&self) {
        self.auth.revocations().caught_up(self.auth.base.clock.boot()).await;
    }

    /// Leaves the list of replicas without having served.
    pub async fn leave(self) {
        leave(&self.auth, self.following).await;
    }

    /// Serves until a stop is requested. Then says that it is not ready, and goes on serving while that spreads. Then takes no
    /// more requests, and waits for those under way, within the drain timeout, while revocations are still followed. In the end
    /// takes itself off the list of replicas. A second request cuts all that short.
    ///
    /// # Errors
    /// [`Error::Internal`] when a port fails.
    pub async fn serve(self, mut ports: Ports, grpc: impl Into<GrpcPorts>, mut stop: Stop) -> Result<(), Error> {
        let health = Health::new().await;
        ports.open_grpc(grpc.into(), self.authorizer(), self.callers.clone(), health.clone());
        let reporting = background::report_health(&self.auth, &health);
        let mut background = background::start(&self.auth);
        let result = tokio::select! {
            () = stop.requested() => Ok(()),
            failed = ports.ended() => Err(failed.unwrap_or_else(|| Error::internal("no port is open"))),
        };
        // The task that reports health must not say SERVING again.
        reporting.abort();
        drop(reporting.await);
        health.not_serving().await;
        ports.say_stopping();
        let finished = async {
            if result.is_ok() {
                sleep(self.lame_duck).await;
            }
            ports.drain();
            if timeout(self.drain_timeout, ports.all_ended()).await.is_err() {
                tracing::warn!("calls were still under way at the end of the drain timeout");
            }
        };
        let insisted = tokio::select! {
            () = finished => false,
            () = stop.insisted() => true,
        };
        drop(ports);
        background.abort_all();
        while background.join_next().await.is_some() {}
        let leaving = leave(&self.auth, self.following);
        if insisted {
            drop(timeout(FAREWELL, leaving).await);
        } else {
            leaving.await;
        }
        result
    }
}

impl Following {
    fn start(auth: &Arc<Auth>) -> Self {
        let keys = Arc::clone(&auth.keys);
        let install_keys = Box::new(move |stored| drop(keys.install(stored)));
        let follower = Arc::new(Follower::new(&auth.base.log, install_keys));
        let leave = watch::Sender::new(false);
        let mut left = leave.subscribe();
        // The sender outlives the follower; if it did not, leaving would be right as well.
        let left = async move { drop(left.wait_for(|left| *left).await) };
        let log = Arc::clone(&auth.base.log);
        let (mut follower_task, mut confirming) = (JoinSet::new(), JoinSet::new());
        follower_task.spawn(async move { follower.run(left).await });
        confirming.spawn(async move { log.watch_replicas().await });
        Self { leave, follower: follower_task, confirming }
    }
}

/// Takes this replica off the list, writes what was refused last, and closes the connections to the database.
async fn leave(auth: &Auth, following: Following) {
    let Following { leave, mut follower, confirming } = following;
    leave.send_replace(true);
    while follower.join_next().await.is_some() {}
    drop(confirming);
    if let Err(error) = auth.base.audit.write_last_refusals().await {
        tracing::warn!(%error, "the audit events of the last refusals are lost");
    }
    auth.base.store.close().await;
}

/// Users and sessions over `store`, for `operator` to administer; also for the command line, which serves nothing.
///
/// # Errors
/// [`Error::Internal`] when there can be no threads that hash.
pub fn accounts(store: Store, policies: Policies, operator: Actor, clock: Clock) -> Result<Accounts, Error> {
    let metrics = Arc::new(Metrics::new()?);
    store.measure(metrics.database.clone());
    let counts = metrics.revocations.clone();
    let log = Arc::new(RevocationLog::new(store.clone(), policies.revocation, operator, clock.clone(), counts));
    let audit = Arc::new(AuditLog::new(store.clone(), clock.clone(), policies.audit));
    let base = Base { store, clock, operator, log, metrics, audit };
    let passwords = Passwords::new(policies.passwords, policies.throttle, base.clone())?;
    Ok(Accounts::new(passwords, policies.sessions, base))
}
