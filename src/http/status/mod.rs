//! The status page: what a replica knows of itself and of the others, for people without a dashboard. Read alone, and off unless a
//! setting turns it on, because it names users.

mod page;

use axum::{Router, http::StatusCode, response::Response, routing::get};
use tokio::time::sleep;

use self::page::Page;
use super::{
    html,
    readiness::{Built, Readiness},
};
use crate::metrics::{SAMPLE_EVERY, findings};

pub(super) fn routes() -> Router<Readiness> {
    Router::new().route("/status", get(status))
}

/// Keeps the metrics of the last minute for the page, until it is dropped.
pub(super) async fn sample(readiness: Readiness) {
    loop {
        if let Some(authorizer) = readiness.built.get() {
            authorizer.auth.base.metrics.sample();
        }
        sleep(SAMPLE_EVERY).await;
    }
}

async fn status(Built(authorizer): Built) -> Response {
    let auth = &authorizer.auth;
    let (overview, recent, log) = (auth.overview().await, auth.recent_metrics(), &auth.base.log);
    let (findings, replicas) = (findings(&recent), log.replicas());
    let page = Page { findings, recent: &recent, own: log.replica(), replicas, overview: &overview };
    html::respond(StatusCode::OK, page.html(), page::STYLE)
}
