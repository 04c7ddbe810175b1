//! The database: keys, audit events, and the replicas on the list.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    auth::overview::Overview,
    cli::{
        output::said,
        settings::{require_schema, store},
    },
    config::DatabaseSettings,
    domain::replica::{Listed, SeenReplica},
    error::Error,
    store::{Store, inspection, replicas},
};

/// The database that the settings name.
pub(super) struct Database {
    store: Store,
    /// True once it is known that its schema can be read.
    is_checked: bool,
    counts: HashMap<Uuid, Count>,
}

/// The counter of a replica, when it moved last, and whether it was seen to move.
#[derive(Clone, Copy)]
struct Count {
    value: i64,
    moved_at: Instant,
    has_moved: bool,
}

/// A replica on the list.
#[derive(Clone, Debug)]
pub(super) struct OnList {
    pub(super) seen: SeenReplica,
    /// True once it was seen to report.
    pub(super) is_heard: bool,
}

/// The things that the database knows.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) overview: Overview,
    pub(super) replicas: Vec<OnList>,
    /// The number of the newest row of the log.
    pub(super) head: i64,
}

impl Database {
    /// The database; None if the settings name none.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub(super) fn find(settings: &DatabaseSettings) -> Result<Option<Self>, Error> {
        if !settings.is_given() {
            return Ok(None);
        }
        Ok(Some(Self { store: store(settings)?, is_checked: false, counts: HashMap::new() }))
    }

    /// Reads once. Fails with a sentence.
    pub(super) async fn look(&mut self) -> Result<Facts, String> {
        self.read().await.map_err(|error| said(&error))
    }

    async fn read(&mut self) -> Result<Facts, Error> {
        if !self.is_checked {
            require_schema(&self.store).await?;
            self.is_checked = true;
        }
        let overview = Overview::read(&self.store).await;
        let mut conn = self.store.acquire().await?;
        let listed = replicas::list(&mut conn, &[]).await?.replicas;
        let head = inspection::head(&mut conn).await?;
        let now = Instant::now();
        let replicas = listed.iter().map(|listed| self.seen(listed, now)).collect();
        Ok(Facts { overview, replicas, head })
    }

    fn seen(&mut self, listed: &Listed, now: Instant) -> OnList {
        let Listed { id, applied_seq, count, max_staleness } = *listed;
        let known = self.counts.entry(id).or_insert(Count { value: count, moved_at: now, has_moved: false });
        if known.value != count {
            *known = Count { value: count, moved_at: now, has_moved: true };
        }
        let seen = SeenReplica { id, applied_seq, silent_for: now - known.moved_at, max_staleness };
        OnList { seen, is_heard: known.has_moved }
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
    }
}

impl Facts {
    /// A replica's state in words: whether it reports, and how far it is behind the log.
    pub(super) fn state(&self, OnList { seen, is_heard }: &OnList) -> String {
        let behind = self.head.saturating_sub(seen.applied_seq);
        let seconds = Duration::from_secs(seen.silent_for.as_secs());
        let heard = match (seen.is_silent(), is_heard) {
            (true, _) => format!("silent for {}", humantime::format_duration(seconds)),
            (false, true) => "heard".to_owned(),
            (false, false) => "not heard yet".to_owned(),
        };
        if behind > 0 { format!("{heard}, {behind} revocations behind") } else { heard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replica_is_silent_while_its_counter_stands_still() {
        let settings = DatabaseSettings::local("postgres://nobody@127.0.0.1:1/none".to_owned());
        let mut database = Database::find(&settings).expect("settings").expect("a database");
        let now = Instant::now();
        let mut at = |second, count| {
            let listed = Listed { id: Uuid::nil(), applied_seq: 7, count, max_staleness: Duration::from_secs(30) };
            database.seen(&listed, now + Duration::from_secs(second))
        };
        let seen = [at(0, 1), at(4, 1), at(9, 1), at(10, 2), at(12, 2)];
        assert_eq!(seen.clone().map(|it| it.seen.silent_for.as_secs()), [0, 4, 9, 0, 2]);
        let facts = |head| Facts { overview: Overview { keys: None, events: None }, replicas: Vec::new(), head };
        let states = [(1, 7), (2, 7), (4, 10)].map(|(place, head)| facts(head).state(&seen[place]));
        assert_eq!(states, ["not heard yet", "silent for 9s", "heard, 3 revocations behind"]);
    }
}
