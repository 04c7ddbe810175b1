//! The reports of replicas about the proxies that they tell: which of them still count.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use countersign_token::clock::BootInstant;

use super::protocol::Observer;
use crate::{
    domain::{
        proxy::ProxyGroup,
        replica::{Listed, ListedProxies},
    },
    error::Error,
    store::{Conn, proxies},
};

/// Reports whose counters are watched: one that stands still is of a replica that has gone, and in time of no proxy.
#[derive(Debug, Default)]
pub(super) struct ProxyReports(Mutex<Observer>);

impl ProxyReports {
    /// Takes over reports that were read at that moment.
    pub(super) fn observe(&self, reports: &[ListedProxies], answered_at: BootInstant) {
        let counters: Vec<Listed> = reports.iter().map(|report| report.replica).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).observe(&counters, answered_at);
    }

    /// The proxies that may accept tokens, by reports that were asked for at that moment.
    pub(super) fn live(&self, reports: &[ListedProxies], asked_at: BootInstant) -> Vec<ProxyGroup> {
        let live = reports.iter().filter(|report| !self.is_silent(report, asked_at, 1));
        live.flat_map(|report| report.groups.iter().copied()).collect()
    }

    /// Takes away the reports that have been silent for so many times as long as their proxies may accept tokens.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(super) async fn forget_silent(
        &self,
        conn: &mut Conn,
        reports: &[ListedProxies],
        asked_at: BootInstant,
        times: u32,
    ) -> Result<(), Error> {
        for report in reports.iter().filter(|report| self.is_silent(report, asked_at, times)) {
            proxies::forget(conn, report).await?;
        }
        Ok(())
    }

    fn is_silent(&self, report: &ListedProxies, asked_at: BootInstant, times: u32) -> bool {
        let silent: Duration =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).silent_for(&report.replica, asked_at);
        silent > report.replica.max_staleness * times
    }
}
