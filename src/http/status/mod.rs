//! The status page: what a replica knows of itself and of the others, for people without a dashboard. Read alone, and off unless a
//! setting turns it on, because it names users.

mod findings;
mod page;

use std::time::Duration;

use axum::{Router, http::StatusCode, response::Response, routing::get};
use tokio::time::timeout;
use uuid::Uuid;

use self::{findings::findings, page::Page};
use super::{
    html,
    readiness::{Built, Readiness},
};
use crate::{
    audit::newest,
    auth::keys,
    authz::Authorizer,
    store::{audit::StoredEvent, keys::StoredKey},
};

/// Time that the page waits for the database.
const PATIENCE: Duration = Duration::from_secs(1);
/// Events that it shows.
const EVENTS: u32 = 25;

pub(super) fn routes() -> Router<Readiness> {
    Router::new().route("/status", get(status))
}

async fn status(Built(authorizer): Built) -> Response {
    let (keys, events) = tokio::join!(keys(&authorizer), events(&authorizer));
    let recent = authorizer.auth.recent_metrics();
    let log = &authorizer.auth.base.log;
    let page = Page {
        findings: findings(&recent),
        recent: &recent,
        own: log.replica(),
        replicas: log.replicas(),
        keys,
        events,
    };
    html::respond(StatusCode::OK, page.html(), page::STYLE)
}

/// The keys, without what is secret; None if the database does not answer.
async fn keys(authorizer: &Authorizer) -> Option<Vec<StoredKey>> {
    let stored = timeout(PATIENCE, keys::stored(&authorizer.auth.base.store)).await;
    Some(stored.ok()?.ok()?.keys)
}

/// The newest events; None if the database does not answer.
async fn events(authorizer: &Authorizer) -> Option<Vec<StoredEvent>> {
    let newest = newest(&authorizer.auth.base.store, None, Uuid::nil(), EVENTS);
    timeout(PATIENCE, newest).await.ok()?.ok()
}
