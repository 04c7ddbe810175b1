//! A primary and a standby that follows it: two clusters, streaming replication, perhaps synchronous, and a promotion.

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use countersign::store::{Store, StoreSettings};
use private_postgres::{Binaries, Cluster, Durability};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;

const DATABASE: &str = "countersign";
/// How the standby names itself to the primary, and to `pg_stat_activity`.
const STANDBY: &str = "standby";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Whether a commit on the primary waits for the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replication {
    Asynchronous,
    /// A commit is answered when the standby has it.
    Synchronous,
}

/// Both clusters, in a directory that goes with them.
pub(crate) struct Pair {
    primary: Cluster,
    /// None while it is stopped.
    standby: Option<Child>,
    dir: PathBuf,
}

impl Pair {
    /// A primary with our tables, and a standby that follows it.
    pub(crate) async fn start(replication: Replication) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = env::temp_dir().join(format!("cs-pair-{}-{number}", std::process::id()));
        let mut primary = Cluster::start(&dir.join("primary"), Durability::Durable).expect("a primary");
        let url = primary.url(DATABASE);
        // Processes crash here, and machines do not.
        let mut connection = PgConnection::connect(&url).await.expect("a primary");
        connection.execute("ALTER SYSTEM SET fsync = off").await.expect("altered");
        connection.execute("SELECT pg_reload_conf()").await.expect("reloaded");
        connection.close().await.expect("closed");
        let store = StoreSettings { url, connections: 1, deadline: Duration::from_secs(10) };
        Store::new(&store).expect("settings").migrate().await.expect("migrated");
        copy(&mut primary, &dir);
        let mut pair = Self { primary, standby: None, dir };
        pair.start_standby();
        pair.until_standby_says("SELECT count(*) FROM pg_stat_wal_receiver", |receivers| receivers == 1).await;
        if replication == Replication::Synchronous {
            pair.on_primary(&format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")).await;
            pair.on_primary("SELECT pg_reload_conf()").await;
            let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            until(&pair.primary_url(), synchronous, |standbys| standbys == 1).await;
        }
        pair
    }

    pub(crate) fn primary_url(&self) -> String {
        self.primary.url(DATABASE)
    }

    pub(crate) fn standby_url(&self) -> String {
        let socket = self.dir.join("standby/socket");
        format!("postgres://countersign@localhost:5432/{DATABASE}?host={}&sslmode=disable", socket.display())
    }

    /// Runs a statement on the primary, over a connection of its own that waits for no standby.
    pub(crate) async fn on_primary(&self, statement: &str) {
        let mut primary = PgConnection::connect(&self.primary_url()).await.expect("a primary");
        primary.execute("SET synchronous_commit = local").await.expect("set");
        primary.execute(AssertSqlSafe(statement)).await.expect(statement);
    }

    /// What the primary commits from now on does not arrive. The standby starts again, because before Postgres 13 it reads
    /// where the primary is only then.
    pub(crate) async fn cut_replication(&mut self) {
        let mut standby = PgConnection::connect(&self.standby_url()).await.expect("a hot standby");
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''").await.expect("altered");
        self.stop_standby();
        self.start_standby();
        self.until_standby_says("SELECT count(*) FROM pg_stat_wal_receiver", |receivers| receivers == 0).await;
    }

    /// Ends the standby: a synchronous commit waits from now on.
    pub(crate) fn stop_standby(&mut self) {
        if let Some(mut standby) = self.standby.take() {
            kill_process(Pid::from_child(&standby), Signal::QUIT).expect("it runs");
            standby.wait().expect("it ends");
        }
    }

    /// Starts the standby again, which may take a while to accept connections.
    pub(crate) fn start_standby(&mut self) {
        self.standby = Some(run_standby(&self.dir));
    }

    /// The primary crashes and the standby takes over.
    pub(crate) async fn fail_over(&mut self) {
        self.primary.crash().expect("crashed");
        self.promote().await;
    }

    /// The standby takes over, and the old primary goes on: two primaries from then on.
    pub(crate) async fn promote(&self) {
        let mut standby = PgConnection::connect(&self.standby_url()).await.expect("a hot standby");
        let promoted: bool =
            sqlx::query_scalar("SELECT pg_promote(true, 60)").fetch_one(&mut standby).await.expect("asked");
        assert!(promoted);
    }

    /// Waits until the count that the standby answers is as expected.
    pub(crate) async fn until_standby_says(&self, query: &'static str, expected: impl Fn(i64) -> bool) {
        until(&self.standby_url(), query, expected).await;
    }

    /// Waits until the count that the primary answers is as expected.
    pub(crate) async fn until_primary_says(&self, query: &'static str, expected: impl Fn(i64) -> bool) {
        until(&self.primary_url(), query, expected).await;
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop_standby();
        drop(self.primary.stop());
        drop(fs::remove_dir_all(&self.dir));
    }
}

async fn until(url: &str, query: &'static str, expected: impl Fn(i64) -> bool) {
    let said = async {
        loop {
            if let Ok(mut connection) = PgConnection::connect(url).await
                && let Ok(count) = sqlx::query_scalar(query).fetch_one(&mut connection).await
                && expected(count)
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), said).await.expect("in time");
}

/// Copies the primary while it is down, which needs no more programs than a cluster does. The copy is a standby of it.
fn copy(primary: &mut Cluster, dir: &Path) {
    let url = primary.url(DATABASE);
    primary.stop().expect("stopped");
    let (from, standby) = (dir.join("primary/postgres"), dir.join("standby"));
    let owner = fs::metadata(&from).expect("data");
    let (data, socket) = (standby.join("data"), standby.join("socket"));
    fs::create_dir(&standby).expect("created");
    fs::create_dir(&socket).expect("created");
    let copied = Command::new("cp").arg("-a").args([&from, &data]).status().expect("run");
    assert!(copied.success(), "cp");
    // In this file, so that `ALTER SYSTEM` can say otherwise.
    let settings = data.join("postgresql.conf");
    let text = fs::read_to_string(&settings).expect("settings") + &format!("primary_conninfo = '{url}'\n");
    fs::write(&settings, text).expect("written");
    let signal = data.join("standby.signal");
    fs::write(&signal, "").expect("written");
    for path in [&standby, &socket, &signal] {
        chown(path, Some(owner.uid()), Some(owner.gid())).expect("given away");
    }
    primary.restart().expect("started again");
}

fn run_standby(dir: &Path) -> Child {
    let (data, socket) = (dir.join("standby/data"), dir.join("standby/socket"));
    let owner = fs::metadata(&data).expect("data");
    Command::new(Binaries::find().expect("Postgres").program("postgres"))
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=", "-c", "port=5432", "-c", "max_connections=200"])
        .args(["-c", "shared_buffers=64MB", "-c", "hot_standby=on"])
        .arg("-c")
        .arg(format!("cluster_name={STANDBY}"))
        .arg("-c")
        .arg(format!("unix_socket_directories={}", socket.display()))
        .current_dir("/")
        .uid(owner.uid())
        .gid(owner.gid())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("run")
}
