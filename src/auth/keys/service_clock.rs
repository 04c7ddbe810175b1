//! The service's clock: a number in the database that a replica moves on by as much as it has watched it stand still.
//! The replica measures by its own clock that does not jump. Only one replica can move it, because the number must be
//! the one that it saw. No wall clock decides how old a key is: one that jumps ahead would put a key into force that
//! verifiers have not fetched. It would also delete a key whose tokens are alive.

use std::time::Duration;

use countersign_token::clock::BootInstant;
use tokio::sync::Mutex;

use super::super::base::Base;
use crate::{
    error::Error,
    store::keys::{self, Date},
};

/// The least by which the service's clock is moved on.
const TICK: Duration = Duration::from_secs(30);

/// The service's clock as this replica saw it last.
#[derive(Debug, Default)]
pub(super) struct ServiceClock(Mutex<Option<Witness>>);

/// The clock stood at `seen_ms` at the moment `seen_at`.
#[derive(Clone, Copy, Debug)]
struct Witness {
    seen_ms: i64,
    seen_at: BootInstant,
}

impl ServiceClock {
    /// Moves the clock on if it has stood still for long enough; else looks where it stands.
    pub(super) async fn witness(&self, base: &Base) -> Result<(), Error> {
        let mut witness = self.0.lock().await;
        let mut conn = base.store.acquire().await?;
        let stands_at = keys::all(&mut conn).await?.witnessed_ms;
        let boot = base.clock.boot();
        let Some(seen) = witness.filter(|seen| seen.seen_ms == stands_at) else {
            *witness = Some(Witness { seen_ms: stands_at, seen_at: boot });
            return Ok(());
        };
        let passed = boot.since(seen.seen_at);
        if passed >= TICK {
            let passed_ms = i64::try_from(passed.as_millis()).map_err(Error::internal)?;
            // Followed since it was seen: by then it is known whether the database was restored.
            let followed = base.log.revocations().state().fresh(None).is_ok_and(|f| f.as_of_boot() >= seen.seen_at);
            let date = if followed { Date::Today } else { Date::Unknown };
            let moved = keys::witness(&mut conn, stands_at, passed_ms, date).await?;
            // Read after the answer, so that no moment is counted twice.
            let seen_at = base.clock.boot();
            *witness = moved.then_some(Witness { seen_ms: stands_at + passed_ms, seen_at });
        }
        Ok(())
    }
}
