//! The private Postgres of this run, durable, in a folder that goes with it; and what a bare commit of it costs.

use std::{
    env, fs,
    path::PathBuf,
    process,
    time::{Duration, Instant},
};

use countersign::store::{Store, StoreSettings};
use countersign_token::ids::SessionId;
use private_postgres::{Cluster, Durability};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, query, query_scalar};

use crate::figures;

/// The most connections that commit side by side.
pub(crate) const CONNECTIONS: usize = 16;

pub(crate) struct Database {
    cluster: Option<Cluster>,
    dir: PathBuf,
}

impl Database {
    pub(crate) fn start() -> Self {
        let dir = env::temp_dir().join(format!("countersign-bench-{}", process::id()));
        let cluster = Cluster::start(&dir, Durability::Durable).expect("a Postgres on this machine");
        Self { cluster: Some(cluster), dir }
    }

    /// What the processes of Postgres have used of the CPUs so far, those that have ended too.
    pub(crate) fn cpu(&self) -> Duration {
        let pid_file = self.dir.join("postgres").join("postmaster.pid");
        let content = fs::read_to_string(pid_file).expect("running");
        let postmaster: u32 = content.lines().next().expect("a line").parse().expect("a process id");
        let mut ticks = 0;
        for entry in fs::read_dir("/proc").expect("Linux").flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            // What follows the name, which may hold anything: state, parent, ... utime, stime, cutime, cstime.
            let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
            let number = |place: usize| fields[place].parse::<u64>().unwrap_or(0);
            if stat.starts_with(&format!("{postmaster} ")) {
                ticks += number(11) + number(12) + number(13) + number(14);
            } else if fields.get(1).is_some_and(|parent| *parent == postmaster.to_string()) {
                ticks += number(11) + number(12);
            }
        }
        Duration::from_millis(ticks * 10)
    }

    /// The URL of a fresh, migrated database.
    pub(crate) async fn create(&self, name: &str) -> String {
        let cluster = self.cluster.as_ref().expect("running");
        execute(&cluster.url("postgres"), &format!("CREATE DATABASE {name}")).await;
        let url = cluster.url(name);
        let settings = StoreSettings { url: url.clone(), connections: 1, deadline: Duration::from_secs(30) };
        let store = Store::new(&settings).expect("settings");
        store.migrate().await.expect("migrated");
        store.close().await;
        execute(&url, "CREATE TABLE counters (id int PRIMARY KEY, value int NOT NULL) WITH (fillfactor = 10)").await;
        execute(&url, "INSERT INTO counters SELECT i, 0 FROM generate_series(1, 64) AS i").await;
        url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.cluster.take());
        drop(fs::remove_dir_all(&self.dir));
    }
}

pub(crate) async fn execute(url: &str, statement: &str) {
    let mut connection = connect(url).await;
    connection.execute(AssertSqlSafe(statement.to_owned())).await.expect(statement);
    connection.close().await.expect("closed");
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("connected")
}

/// Inserts so many live sessions of the user whose name is given.
pub(crate) async fn sessions(url: &str, username: &str, count: i64) -> Vec<SessionId> {
    let mut connection = connect(url).await;
    let statement = "INSERT INTO refresh_tokens (session_id, user_id, epoch, generation, previous_generation, \
           rotated_at, created_at, expires_at, idle_expires_at, client_id, audience, client_ip, client_user_agent, \
           client_device) \
         SELECT gen_random_uuid(), id, epoch, 1, 0, now(), now(), now() + interval '30 days', \
           now() + interval '14 days', 'default', '{internal}', '', '', '' \
         FROM users, generate_series(1, $2) WHERE username = $1 RETURNING session_id";
    let ids = query_scalar(statement).bind(username).bind(count).fetch_all(&mut connection).await.expect("inserted");
    connection.execute("ANALYZE refresh_tokens").await.expect("analysed");
    connection.execute("CHECKPOINT").await.expect("a checkpoint");
    ids.into_iter().map(SessionId).collect()
}

/// How often rows of `refresh_tokens` were updated, and how often without touching an index.
pub(crate) async fn heap_only_updates(url: &str) -> (i64, i64) {
    let counted = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'refresh_tokens'";
    sqlx::query_as(counted).fetch_one(&mut connect(url).await).await.expect("counted")
}

/// A connection that commits single-row updates, each of the row that is its own.
pub(crate) struct Committer {
    connection: PgConnection,
    row: i32,
}

impl Committer {
    pub(crate) async fn connect(url: &str, row: usize) -> Self {
        Self { connection: connect(url).await, row: i32::try_from(row).expect("small") }
    }

    /// One UPDATE of one row in a transaction of its own.
    pub(crate) async fn commit(&mut self) {
        let statement = query("UPDATE counters SET value = value + 1 WHERE id = $1").bind(self.row);
        let done = statement.execute(&mut self.connection).await.expect("committed");
        assert_eq!(done.rows_affected(), 1);
    }
}

/// Updates with commits of their own a second, at so many connections.
pub(crate) async fn commits_a_second(url: &str, connections: usize, within: Duration) -> f64 {
    let mut committers = Vec::new();
    for row in 1..=connections {
        committers.push(Committer::connect(url, row).await);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = committers
        .into_iter()
        .map(|mut committer| {
            tokio::spawn(async move {
                let mut count = 0_u32;
                while begun.elapsed() < within {
                    committer.commit().await;
                    count += 1;
                }
                count
            })
        })
        .collect();
    figures::a_second(tasks, begun).await
}
