//! A table of its own with one row for each task, for the measure of whatever writes. It shows what one UPDATE of one
//! row with a commit of its own costs through this driver and this pool.

use std::time::Duration;

use sqlx::query;
use tokio::{task::JoinSet, time::Instant};

use countersign::{error::Error, store::Store};

/// The most tasks.
pub(crate) const MOST_TASKS: usize = 256;

/// The table; nothing else knows of it.
#[derive(Debug)]
pub(crate) struct CommitBench {
    store: Store,
}

impl CommitBench {
    /// Makes the table, or takes the one that was left behind.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(crate) async fn create(store: Store) -> Result<Self, Error> {
        let mut conn = store.acquire().await?;
        let create = "CREATE TABLE IF NOT EXISTS countersign_bench_commits (id bigint PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 10)";
        conn.execute(query(create)).await?;
        let rows =
            "INSERT INTO countersign_bench_commits SELECT i, 0 FROM generate_series(0, $1) AS i ON CONFLICT DO NOTHING";
        conn.execute(query(rows).bind(i64::try_from(MOST_TASKS).unwrap_or(0))).await?;
        drop(conn);
        Ok(Self { store })
    }

    /// CommitBench a second by so many tasks that share the pool, each of a row of its own.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(crate) async fn a_second(&self, tasks: usize, within: Duration) -> Result<f64, Error> {
        let begun = Instant::now();
        let mut committing = JoinSet::new();
        for row in 0..i64::try_from(tasks.min(MOST_TASKS)).unwrap_or(0) {
            let store = self.store.clone();
            committing.spawn(async move {
                let mut count = 0_u32;
                while begun.elapsed() < within {
                    let update = query("UPDATE countersign_bench_commits SET value = value + 1 WHERE id = $1");
                    store.acquire().await?.execute(update.bind(row)).await?;
                    count += 1;
                }
                Ok::<_, Error>(count)
            });
        }
        let mut count = 0.0;
        while let Some(done) = committing.join_next().await {
            count += f64::from(done.map_err(Error::internal)??);
        }
        Ok(count / begun.elapsed().as_secs_f64())
    }

    /// Removes the table.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(crate) async fn remove(self) -> Result<(), Error> {
        self.store.acquire().await?.execute(query("DROP TABLE countersign_bench_commits")).await?;
        self.store.close().await;
        Ok(())
    }
}
