//! States, set when somebody asks.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Gauge, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    label::{Gauges as Labelled, label},
    plain::counter,
};
use crate::domain::key::{Key, Purpose, Stage};

label! {
    /// The state of a connection of the pool.
    pub PoolState as "state" {
        /// Used by a request.
        Used = "used",
        /// Ready for a request.
        Idle = "idle",
    }
}

label! {
    /// The state of a replica, as another one sees it.
    pub ReplicaState as "state" {
        /// The replica says how far it is.
        Heard = "heard",
        /// The replica has been silent for longer than one that is well.
        Silent = "silent",
    }
}

/// States of a server.
#[derive(Debug)]
pub struct Gauges {
    replica: IntGaugeVec,
    freshness_age: Gauge,
    freshness_bound: Gauge,
    clock_distance: Gauge,
    /// Entries of the index of revocations.
    pub revocations: IntGauge,
    /// Verified tokens that are remembered.
    pub remembered: IntGauge,
    /// Signatures that were verified. Set, not counted.
    signatures: IntCounter,
    turn: Mutex<()>,
    /// Clients and proxies that follow revocations.
    pub watchers: IntGauge,
    keys: IntGaugeVec,
    keys_unusable: IntGauge,
    next_rotation: Gauge,
    /// The seconds until then, and the moment at which that was found out.
    rotation_due: Mutex<Option<(f64, Instant)>>,
    /// Passwords that wait for a hashing thread.
    pub hash_queue: IntGauge,
    /// Connections of the pool.
    pub pool: Labelled<PoolState>,
    /// Replicas on the list, this one too.
    pub replicas: Labelled<ReplicaState>,
    /// The most connections that the pool may have.
    pub pool_size: IntGauge,
    /// Audit events of refusals that are not written yet.
    pub audit_backlog: IntGauge,
}

impl Gauges {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<Gauge> {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let number = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let replica = Opts::new("countersign_replica_info", "The id of this replica on the list of replicas: 1.");
        let replica = IntGaugeVec::new(replica, &["replica"])?;
        registry.register(Box::new(replica.clone()))?;
        let keys = Opts::new("countersign_keys", "Keys that are known here, by purpose and stage.");
        let keys = IntGaugeVec::new(keys, &["purpose", "stage"])?;
        registry.register(Box::new(keys.clone()))?;
        for purpose in Purpose::ALL {
            for stage in Stage::ALL {
                keys.get_metric_with_label_values(&[purpose.as_str(), stage.as_str()])?;
            }
        }
        Ok(Self {
            replica,
            freshness_age: gauge(
                "countersign_revocation_freshness_age_seconds",
                "Age of what is known of revocations here: +Inf when nothing is. Beyond the bound, Verify refuses.",
            )?,
            freshness_bound: gauge(
                "countersign_revocation_freshness_bound_seconds",
                "The bound (max_staleness) of this replica.",
            )?,
            clock_distance: gauge(
                "countersign_clock_distance_seconds",
                "Distance of this machine's wall clock from the database's.",
            )?,
            revocations: number("countersign_revocation_index_entries", "Entries of the index of revocations.")?,
            remembered: number("countersign_verified_tokens", "Verified tokens that are remembered.")?,
            signatures: counter(
                registry,
                "countersign_verification_signatures_total",
                "Signatures of access tokens that were verified, because the tokens were not remembered.",
            )?,
            watchers: number("countersign_watchers", "Streams of clients and proxies that follow revocations.")?,
            keys,
            keys_unusable: number(
                "countersign_keys_unusable",
                "Stored keys that cannot be opened here: of another master key, or damaged.",
            )?,
            next_rotation: gauge(
                "countersign_key_rotation_due_seconds",
                "Time until the key that signs access tokens is due to be replaced; below 0 when that is late.",
            )?,
            turn: Mutex::default(),
            rotation_due: Mutex::default(),
            hash_queue: number("countersign_password_hash_queue", "Passwords that wait for a hashing thread.")?,
            pool: Labelled::new(registry, "countersign_database_connections", "Connections of the pool, by state.")?,
            replicas: Labelled::new(
                registry,
                "countersign_replicas",
                "Replicas on the list in the database, this one too, as it sees them.",
            )?,
            pool_size: number("countersign_database_connections_max", "The most connections that the pool may have.")?,
            audit_backlog: number("countersign_audit_backlog", "Refusals whose audit events are not written yet.")?,
        })
    }

    /// Sets the id by which the list of replicas and the log call this one.
    pub fn set_replica(&self, id: Uuid) {
        if let Ok(gauge) = self.replica.get_metric_with_label_values(&[id.to_string().as_str()]) {
            gauge.set(1);
        }
    }

    /// Sets what is known of revocations: how old it is, if anything is known, and the bound.
    pub fn set_freshness(&self, age: Option<Duration>, bound: Duration) {
        self.freshness_age.set(age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
        self.freshness_bound.set(bound.as_secs_f64());
    }

    /// Sets the distance of the wall clock from the database's.
    pub fn set_clock_distance(&self, distance: Duration) {
        self.clock_distance.set(distance.as_secs_f64());
    }

    /// Sets how many signatures were verified since the start.
    pub fn set_signatures(&self, number: u64) {
        // One at a time, or two who look would both count what is new.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.signatures.inc_by(number.saturating_sub(self.signatures.get()));
    }

    /// Sets the keys that are known, and how many of them cannot be used.
    pub fn set_keys<'k>(&self, known: impl Iterator<Item = &'k Key> + Clone, unusable: usize) {
        for purpose in Purpose::ALL {
            for stage in Stage::ALL {
                let count = known.clone().filter(|key| (key.purpose, key.stage) == (purpose, stage)).count();
                if let Ok(gauge) = self.keys.get_metric_with_label_values(&[purpose.as_str(), stage.as_str()]) {
                    gauge.set(int(count));
                }
            }
        }
        self.set_unusable(unusable);
    }

    /// Sets the number of stored keys that cannot be used, and gives back what it was.
    pub fn set_unusable(&self, unusable: usize) -> usize {
        let before = usize::try_from(self.keys_unusable.get()).unwrap_or(0);
        self.keys_unusable.set(int(unusable));
        before
    }

    /// Sets the time until the signing key is due to be replaced, in seconds; negative when that is late.
    pub fn set_next_rotation(&self, seconds: f64) {
        *self.rotation_due.lock().unwrap_or_else(PoisonError::into_inner) = Some((seconds, Instant::now()));
        self.next_rotation.set(seconds);
    }

    /// Moves the time until then on, also while nobody can look at the keys.
    pub fn move_next_rotation(&self) {
        if let Some((seconds, at)) = *self.rotation_due.lock().unwrap_or_else(PoisonError::into_inner) {
            self.next_rotation.set(seconds - at.elapsed().as_secs_f64());
        }
    }
}

/// A number of things as a gauge has it.
fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
