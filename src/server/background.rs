//! Background tasks of a server, until it stops: they look after the keys and the health, and write and delete what
//! nobody waits for.

use std::{sync::Arc, time::Duration};

use tokio::task::{JoinHandle, JoinSet};

use crate::{
    auth::Auth,
    domain::policy::CLOCK_DISTANCE,
    grpc::Health,
    store::replication::{self, Replication, Seen},
};

/// Time between two looks at the health when nothing happens.
const HEALTH_PAUSE: Duration = Duration::from_millis(500);
/// Time between two comparisons of the wall clock with the database's.
const CLOCK_PAUSE: Duration = Duration::from_secs(5);
/// Time between two writes of refusals.
const AUDIT_PAUSE: Duration = Duration::from_secs(1);
const REPLICATION_PAUSE: Duration = Duration::from_secs(3600);
const CLEAN_PAUSE: Duration = Duration::from_secs(30);
const SAMPLE_PAUSE: Duration = Duration::from_secs(600);
/// Time between two looks at the kinds of password hashes before the first that works: nobody can log in till then.
const SAMPLE_RETRY: Duration = Duration::from_secs(2);

/// Starts all background tasks.
pub(super) fn start(auth: &Arc<Auth>) -> JoinSet<()> {
    let mut background = JoinSet::new();
    let keys = Arc::clone(&auth.keys);
    background.spawn(async move { keys.keep().await });
    background.spawn(watch_clock(Arc::clone(auth)));
    background.spawn(watch_replication(Arc::clone(auth)));
    background.spawn(write_refusals(Arc::clone(auth)));
    background.spawn(clean(Arc::clone(auth)));
    background.spawn(watch_hashes(Arc::clone(auth)));
    background
}

/// Says SERVING while Verify can answer, in a task of its own.
pub(super) fn report_health(auth: &Arc<Auth>, health: &Health) -> JoinHandle<()> {
    let (auth, health) = (Arc::clone(auth), health.clone());
    tokio::spawn(async move { keep_reporting(&auth, &health).await })
}

async fn keep_reporting(auth: &Auth, health: &Health) {
    let mut said = false;
    loop {
        let fresh = auth.revocations().state().fresh(None).is_ok();
        if fresh != said {
            if fresh {
                health.serving().await;
            } else {
                health.not_serving().await;
            }
            said = fresh;
        }
        tokio::time::sleep(HEALTH_PAUSE).await;
    }
}

/// Looks at the kinds of stored password hashes now and then. The first look was at the start.
async fn watch_hashes(auth: Arc<Auth>) {
    let mut pause = if auth.passwords.knows_kinds() { SAMPLE_PAUSE } else { SAMPLE_RETRY };
    loop {
        tokio::time::sleep(pause).await;
        pause = match auth.sample_hashes().await {
            Ok(()) => SAMPLE_PAUSE,
            Err(error) => {
                tracing::warn!(%error, "the kinds of password hashes could not be looked at");
                if auth.passwords.knows_kinds() { CLEAN_PAUSE } else { SAMPLE_RETRY }
            }
        };
    }
}

/// Writes what was refused.
async fn write_refusals(auth: Arc<Auth>) {
    loop {
        tokio::time::sleep(AUDIT_PAUSE).await;
        if let Err(error) = auth.base.audit.write_refusals().await {
            tracing::debug!(%error, "audit events wait to be written");
        }
    }
}

/// Deletes what is old.
async fn clean(auth: Arc<Auth>) {
    loop {
        auth.forget_expired_tokens();
        for cleaned in [
            auth.base.log.clean().await,
            auth.passwords.clean_throttle().await,
            auth.base.audit.delete_old().await,
            auth.sessions.delete_ended().await.map(drop),
        ] {
            if let Err(error) = cleaned {
                tracing::debug!(%error, "old rows could not be deleted");
            }
        }
        tokio::time::sleep(CLEAN_PAUSE).await;
    }
}

/// Says at the start and each hour how the database replicates, as far as it can be seen. Never that it is safe: that depends on
/// which node would be promoted.
async fn watch_replication(auth: Arc<Auth>) {
    loop {
        let looked = async { replication::look(&mut auth.base.store.acquire().await?).await };
        let pause = match looked.await {
            Ok(replication) => {
                say_replication(&replication);
                REPLICATION_PAUSE
            }
            Err(_) => CLEAN_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

fn say_replication(replication: &Replication) {
    let (names, standbys) = (&replication.synchronous_standby_names, replication.standbys);
    match replication.seen() {
        Seen::Waiting => tracing::info!(
            synchronous_standby_names = names,
            standbys,
            "commits wait for a standby; whether it is the one that would be promoted cannot be seen from here"
        ),
        Seen::NotWaiting => tracing::warn!(
            standbys,
            "commits wait for no standby: after a failover P1 holds as README says for asynchronous replication"
        ),
        Seen::Alone => tracing::info!("the database has no standby that can be seen from here"),
    }
}

/// Says when the wall clock begins to differ. Tokens of one replica are refused by another whose clock is far behind,
/// and too far away none are signed.
async fn watch_clock(auth: Arc<Auth>) {
    let mut said = (false, true);
    loop {
        let distance = auth.revocations().clock_distance();
        let (differs, signs) = (distance > CLOCK_DISTANCE, distance <= auth.base.log.policy().max_clock_distance);
        if (differs, signs) != said && !signs {
            tracing::error!(?distance, "this machine's clock is too far from the database's: no tokens are signed");
        } else if (differs, signs) != said && differs {
            tracing::warn!(
                ?distance,
                "this machine's clock and the database's differ: tokens live too short or too long"
            );
        }
        said = (differs, signs);
        tokio::time::sleep(CLOCK_PAUSE).await;
    }
}
