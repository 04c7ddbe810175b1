//! The states of a server that its metrics expose: looked at when somebody asks.

use std::sync::Arc;

use super::{Auth, overview::Overview};
use crate::{
    domain::{replica::SeenReplica, rpc::Rpc},
    error::Error,
    metrics::{PoolState, Recent, ReplicaState},
    store::Occupancy,
};

impl Auth {
    /// The metrics of this server in Prometheus' text format, its states as they are now.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub fn exposed_metrics(&self) -> Result<String, Error> {
        self.observe();
        self.base.metrics.render()
    }

    /// The metrics as they are now, beside what they were up to a minute ago.
    pub fn recent_metrics(&self) -> Recent {
        self.observe();
        self.base.metrics.recent()
    }

    /// The keys and the newest events, as of a moment ago.
    pub async fn overview(&self) -> Arc<Overview> {
        self.overview.get(&self.base.store).await
    }

    fn observe(&self) {
        let (gauges, revocations) = (&self.base.metrics.gauges, self.revocations());
        gauges.set_replica(self.base.log.replica());
        gauges.set_freshness(revocations.state().age(), revocations.state().max_staleness());
        gauges.move_next_rotation();
        gauges.set_clock_distance(revocations.clock_distance());
        gauges.revocations.set(int(revocations.state().entries()));
        let streams = [Rpc::WatchRevocations, Rpc::DeltaExtensionConfigs, Rpc::DeltaAggregatedResources];
        let watchers: u64 = streams.into_iter().map(|rpc| self.base.metrics.calls.under_way(rpc)).sum();
        gauges.watchers.set(i64::try_from(watchers).unwrap_or(i64::MAX));
        gauges.remembered.set(int(self.verifier.remembered()));
        gauges.set_signatures(self.verifier.signatures());
        gauges.hash_queue.set(int(self.passwords.hasher().waiting()));
        gauges.audit_backlog.set(int(self.base.audit.unwritten()));
        let Occupancy { used, idle, most } = self.base.store.occupancy();
        for (state, number) in [(PoolState::Used, used), (PoolState::Idle, idle)] {
            if let Some(gauge) = gauges.pool.of(state) {
                gauge.set(number.into());
            }
        }
        let (silent, heard): (Vec<_>, Vec<_>) = self.base.log.replicas().into_iter().partition(SeenReplica::is_silent);
        for (state, replicas) in [(ReplicaState::Heard, heard), (ReplicaState::Silent, silent)] {
            if let Some(gauge) = gauges.replicas.of(state) {
                gauge.set(int(replicas.len()));
            }
        }
        gauges.pool_size.set(most.into());
    }
}

/// A number of things as a gauge has it.
fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
