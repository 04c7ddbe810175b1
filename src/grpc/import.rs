//! ImportUsers: reads the messages one by one, and has each written before the next is read. So a caller sends no
//! faster than the database writes.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Status, Streaming};

use super::{decode, encode, status::status, v1};
use crate::{
    auth::{
        Auth,
        users::import::{Import, ImportMode, ImportRow, Outcome, Totals},
    },
    edge::Caller,
    error::Error,
};

/// The most rows of a call: their names are kept until its end.
const MAX_ROWS: u64 = 1_000_000;
/// The most rows that an answer names.
const MAX_NAMED: usize = 1000;

/// The report that an answer is made of.
#[derive(Default)]
struct Report {
    totals: Totals,
    named: Vec<v1::UnimportedRow>,
}

/// Imports all that `messages` bring.
///
/// # Errors
/// The status of tonic for a message that it cannot read, which `contract.rs` corrects. INVALID_ARGUMENT for a message that
/// is too large or asks for a dry run too late. PERMISSION_DENIED for one with a role that the caller may not give.
/// DATABASE_UNAVAILABLE. SHUTTING_DOWN when `drain` says so before the next message has come. What was written before stays.
pub(super) async fn import(
    auth: Arc<Auth>,
    caller: Result<Caller, Error>,
    mut messages: Streaming<v1::ImportUsersRequest>,
    mut drain: watch::Receiver<bool>,
) -> Result<v1::ImportUsersResponse, Status> {
    let caller = caller.map_err(status)?;
    let mut report = Report::default();
    let mut under_way = None;
    loop {
        let message = tokio::select! {
            message = messages.message() => message?,
            Ok(_) = drain.wait_for(|drain| *drain) => return Err(status(Error::ShuttingDown)),
        };
        let Some(message) = message else {
            return Ok(report.answer());
        };
        let (mode, rows) = decode::imported(message).map_err(status)?;
        rows.iter().try_for_each(|row| caller.may_give(&row.roles)).map_err(status)?;
        let (import, mode_so_far) = under_way.take().unwrap_or_else(|| (Import::new(mode), mode));
        if mode == ImportMode::DryRun && mode_so_far == ImportMode::Write {
            return Err(status(Error::invalid("dry_run", "in the first message")));
        }
        let import = report.add(&auth, import, rows).await.map_err(status)?;
        under_way = Some((import, mode_so_far));
    }
}

impl Report {
    async fn add(&mut self, auth: &Arc<Auth>, import: Import, rows: Vec<ImportRow>) -> Result<Import, Error> {
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        if self.totals.rows().saturating_add(count) > MAX_ROWS {
            return Err(Error::invalid("users", format!("at most {MAX_ROWS} in a call")));
        }
        let (import, outcomes) = auth.users.import(import, rows).await?;
        for outcome in outcomes {
            self.totals.count(&outcome);
            if outcome != Outcome::Imported && self.named.len() < MAX_NAMED {
                self.named.push(encode::unimported(self.totals.rows(), outcome));
            }
        }
        Ok(import)
    }

    fn answer(self) -> v1::ImportUsersResponse {
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        v1::ImportUsersResponse {
            imported: count(self.totals.imported),
            skipped: count(self.totals.skipped),
            refused: count(self.totals.refused),
            rows: self.named,
        }
    }
}
