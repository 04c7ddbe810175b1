//! A running server: built from checked settings, served on listeners that the caller has bound, drained at the end.
//! `serve`, `dev` and the tests all come through here.

mod background;

use std::{future::Future, sync::Arc, time::Duration};

use countersign_token::clock::Clock;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

use crate::{
    audit::AuditLog,
    auth::{Accounts, Auth, base::Base, passwords::Passwords},
    config::Policies,
    crypto::seal::MasterKeys,
    domain::audit::Actor,
    edge::Callers,
    error::Error,
    grpc::{self, Health},
    http,
    revocation::{follower::Follower, log::RevocationLog},
    store::Store,
};

/// The parts that a server is built from.
#[derive(Debug)]
pub struct Config {
    /// Policies of the parts.
    pub policies: Policies,
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

/// A server that has its keys and is ready to serve.
#[derive(Debug)]
pub struct Server {
    auth: Arc<Auth>,
    follower: Arc<Follower>,
    callers: Callers,
    drain_timeout: Duration,
}

/// The ports of a server.
#[derive(Debug)]
pub struct Listeners {
    /// The listener of gRPC.
    pub grpc: TcpListener,
    /// The listener of HTTP.
    pub http: TcpListener,
}

impl Server {
    /// Starts the hashing threads, reads the blocklist of passwords, reads the keys or makes them, and looks at
    /// the kinds of stored hashes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the blocklist, [`Error::DatabaseUnavailable`], [`Error::Internal`] for keys that do not
    /// open.
    pub async fn build(config: Config) -> Result<Self, Error> {
        let Policies { keys, tokens, .. } = config.policies.clone();
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
        Ok(Self {
            follower: Arc::new(follower(&auth)),
            auth,
            callers: config.callers,
            drain_timeout: config.drain_timeout,
        })
    }

    /// The operations, for those who run in the same process.
    pub fn auth(&self) -> Arc<Auth> {
        Arc::clone(&self.auth)
    }

    /// Serves until `shutdown` resolves; then says NOT_SERVING, and takes itself off the list of replicas in the end.
    /// In between, the calls under way may end within the drain timeout, while revocations are still followed.
    ///
    /// # Errors
    /// [`Error::Internal`] when a port fails.
    pub async fn serve(self, listeners: Listeners, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let health = Health::new().await;
        let (drain, leave) = (watch::Sender::new(false), watch::Sender::new(false));
        let mut ports = self.open_ports(listeners, &health, &drain);
        let (follower, left) = (Arc::clone(&self.follower), stopped(leave.subscribe()));
        let following = tokio::spawn(async move { follower.run(left).await });
        let auth = self.auth();
        let confirming = tokio::spawn(async move { auth.base.log.watch_replicas().await });
        let mut background = background::start(&self.auth, &health);
        let result = tokio::select! {
            () = shutdown => Ok(()),
            ended = ports.join_next() => Err(port_failure(ended)),
        };
        // The task that reports health must not say SERVING again.
        background.abort_all();
        while background.join_next().await.is_some() {}
        health.not_serving().await;
        drain.send_replace(true);
        if timeout(self.drain_timeout, async { while ports.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("calls were still under way at the end of the drain timeout");
        }
        leave.send_replace(true);
        drop(following.await);
        confirming.abort();
        if let Err(error) = self.auth.base.audit.write_last_refusals().await {
            tracing::warn!(%error, "the audit events of the last refusals are lost");
        }
        self.auth.base.store.close().await;
        result
    }

    fn open_ports(
        &self,
        listeners: Listeners,
        health: &Health,
        drain: &watch::Sender<bool>,
    ) -> JoinSet<Result<(), Error>> {
        let mut ports = JoinSet::new();
        ports.spawn(grpc::serve(listeners.grpc, self.auth(), self.callers.clone(), health.clone(), drain.subscribe()));
        ports.spawn(http::serve(listeners.http, self.auth(), stopped(drain.subscribe())));
        ports
    }
}

fn follower(auth: &Arc<Auth>) -> Follower {
    let keys = Arc::clone(&auth.keys);
    let install_keys = Box::new(move |stored| drop(keys.install(stored)));
    Follower::new(&auth.base.log, install_keys)
}

/// Users and sessions over `store`, for `operator` to administer; also for the command line, which serves nothing.
///
/// # Errors
/// [`Error::Internal`] when there can be no threads that hash.
pub fn accounts(store: Store, policies: Policies, operator: Actor, clock: Clock) -> Result<Accounts, Error> {
    let log = Arc::new(RevocationLog::new(store.clone(), policies.revocation, operator, clock.clone()));
    let audit = Arc::new(AuditLog::new(store.clone(), clock.clone(), policies.audit));
    let base = Base { store, clock, operator, log, audit };
    let passwords = Passwords::new(policies.passwords, policies.throttle, base.clone())?;
    Ok(Accounts::new(passwords, policies.sessions, base))
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender outlives the ports; if it did not, stopping would be right as well.
    drop(stop.wait_for(|stop| *stop).await);
}

fn port_failure(ended: Option<Result<Result<(), Error>, tokio::task::JoinError>>) -> Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => Error::internal(error),
        Some(Ok(Ok(()))) | None => Error::internal("a port closed by itself"),
    }
}
