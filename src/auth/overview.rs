//! An overview for people who look at a server: the keys, and the newest events.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Auth, keys};
use crate::{
    audit::newest,
    domain::key::Key,
    store::{audit::StoredEvent, keys::StoredKey},
};

/// Time that the overview waits for the database.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events that it has.
const EVENTS: u32 = 25;

/// The keys and the newest events; None for what the database did not say in time.
#[derive(Debug)]
pub struct Overview {
    /// The keys, each with the algorithm that uses it.
    pub keys: Option<Vec<(Key, String)>>,
    /// The events, newest first.
    pub events: Option<Vec<ShownEvent>>,
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

impl Auth {
    /// An overview as of now.
    pub async fn overview(&self) -> Overview {
        let store = &self.base.store;
        let keys = timeout(PATIENCE, keys::stored(store));
        let events = timeout(PATIENCE, newest(store, None, Uuid::nil(), EVENTS));
        let (keys, events) = tokio::join!(keys, events);
        let listed = |StoredKey { key, algorithm, .. }| (key, algorithm);
        Overview {
            keys: keys.ok().and_then(Result::ok).map(|stored| stored.keys.into_iter().map(listed).collect()),
            events: events.ok().and_then(Result::ok).map(|events| events.into_iter().rev().map(shown).collect()),
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
