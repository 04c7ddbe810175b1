//! An overview for people who look at a server: the keys, and the newest events.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::keys;
use crate::{
    audit::newest,
    domain::key::Key,
    store::{Store, audit::StoredEvent, keys::StoredKey},
};

/// Time that the overview waits for the database.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time for which an overview is shown.
const KEPT: Duration = Duration::from_secs(2);
/// Events that it has.
const EVENTS: u32 = 25;

/// The keys and the newest events; None for what the database did not say in time.
#[derive(Debug)]
pub struct Overview {
    /// The keys.
    pub keys: Option<Vec<ShownKey>>,
    /// The events, newest first.
    pub events: Option<Vec<ShownEvent>>,
}

/// A key as people read it.
#[derive(Debug)]
pub struct ShownKey {
    /// The key without its secret.
    pub key: Key,
    /// The algorithm that uses it.
    pub algorithm: String,
    /// The moment at which it was made, by the clock of who made it.
    pub made_at: OffsetDateTime,
}

/// An audit event as people read it.
#[derive(Debug)]
pub struct ShownEvent {
    /// The moment at which it happened.
    pub at: OffsetDateTime,
    /// The kind of the event.
    pub kind: String,
    /// The actor of the event.
    pub actor: String,
    /// The user whom the event is about, by name if it is known.
    pub user: String,
    /// The reason and the details of the event.
    pub why: String,
    /// The address of the client, as far as the caller said.
    pub client_ip: String,
}

/// The overview that was read last, and when.
#[derive(Debug, Default)]
pub(super) struct LatestOverview(Mutex<Option<(Instant, Arc<Overview>)>>);

impl LatestOverview {
    /// An overview as of a moment ago. However many ask, one reads.
    pub(super) async fn get(&self, store: &Store) -> Arc<Overview> {
        let mut latest = self.0.lock().await;
        if let Some((_, overview)) = latest.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Arc::clone(overview);
        }
        let overview = Arc::new(Overview::read(store).await);
        *latest = Some((Instant::now(), Arc::clone(&overview)));
        overview
    }
}

impl Overview {
    /// Reads in tasks of their own: a statement that is given up here is not cut short.
    pub async fn read(store: &Store) -> Self {
        let (of_keys, of_events) = (store.clone(), store.clone());
        let keys = tokio::spawn(async move { keys::stored(&of_keys).await });
        let events = tokio::spawn(async move { newest(&of_events, None, Uuid::nil(), EVENTS).await });
        let (keys, events) = tokio::join!(timeout(PATIENCE, keys), timeout(PATIENCE, events));
        let keys = keys.ok().and_then(Result::ok).and_then(Result::ok);
        let events = events.ok().and_then(Result::ok).and_then(Result::ok);
        let listed = |StoredKey { key, algorithm, created_at, .. }| ShownKey { key, algorithm, made_at: created_at };
        Self {
            keys: keys.map(|stored| stored.keys.into_iter().map(listed).collect()),
            events: events.map(|events| events.into_iter().rev().map(shown).collect()),
        }
    }
}

fn shown(event: StoredEvent) -> ShownEvent {
    let id = event.user_id.map(|id| id.to_string());
    let why = [event.reason, event.detail].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    ShownEvent {
        at: event.at,
        kind: event.kind,
        actor: event.actor,
        user: event.username.or(id).unwrap_or_default(),
        why,
        client_ip: event.client_ip,
    }
}
