//! Failover to a real standby that was behind: two clusters, streaming replication, a promotion, and commits that are lost.

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use countersign::{
    clock::Clock,
    grpc::v1::revoke_request::Target,
    postgres::{Binaries, Cluster, Durability},
    store::{Store, StoreSettings},
};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;

use crate::support::{Proxy, Setup, refusal};

const DATABASE: &str = "countersign";

/// Both clusters, in a directory that goes with them.
struct Pair {
    primary: Cluster,
    standby: Child,
    dir: PathBuf,
}

impl Pair {
    /// A primary with our tables, and a standby that follows it.
    async fn start() -> Self {
        let dir = env::temp_dir().join(format!("countersign-failover-{}", std::process::id()));
        let primary = Cluster::start(&dir.join("primary"), Durability::Durable).expect("a primary");
        let url = primary.url(DATABASE);
        let store = StoreSettings { url: url.clone(), connections: 1, deadline: Duration::from_secs(10) };
        Store::new(&store).expect("settings").migrate().await.expect("migrated");
        let standby = follow(&dir, &url);
        let pair = Self { primary, standby, dir };
        let seen = "SELECT count(*) FROM _sqlx_migrations";
        pair.until_standby_says(seen, |migrations| migrations > 0).await;
        pair
    }

    fn standby_url(&self) -> String {
        let socket = self.dir.join("standby/socket");
        format!("postgres://countersign@localhost:5432/{DATABASE}?host={}&sslmode=disable", socket.display())
    }

    /// What the primary commits from now on does not arrive.
    async fn cut_replication(&self) {
        let mut standby = PgConnection::connect(&self.standby_url()).await.expect("a hot standby");
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''").await.expect("altered");
        standby.execute("SELECT pg_reload_conf()").await.expect("reloaded");
        self.until_standby_says("SELECT count(*) FROM pg_stat_wal_receiver", |receivers| receivers == 0).await;
    }

    async fn fail_over(&mut self) {
        self.primary.crash().expect("crashed");
        let mut standby = PgConnection::connect(&self.standby_url()).await.expect("a hot standby");
        let promoted: bool =
            sqlx::query_scalar("SELECT pg_promote(true, 60)").fetch_one(&mut standby).await.expect("asked");
        assert!(promoted);
    }

    async fn until_standby_says(&self, query: &'static str, expected: impl Fn(i64) -> bool) {
        let said = async {
            loop {
                if let Ok(mut standby) = PgConnection::connect(&self.standby_url()).await
                    && let Ok(count) = sqlx::query_scalar(query).fetch_one(&mut standby).await
                    && expected(count)
                {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), said).await.expect("in time");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.standby), Signal::QUIT);
        drop(self.standby.wait());
        drop(self.primary.stop());
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A copy of the primary that goes on replaying what the primary writes.
fn follow(dir: &Path, primary: &str) -> Child {
    let owner = fs::metadata(dir.join("primary/postgres")).expect("data");
    let (standby, binaries) = (dir.join("standby"), Binaries::find().expect("Postgres"));
    let (data, socket) = (standby.join("data"), standby.join("socket"));
    fs::create_dir(&standby).expect("created");
    fs::create_dir(&socket).expect("created");
    for path in [&standby, &socket] {
        chown(path, Some(owner.uid()), Some(owner.gid())).expect("given away");
    }
    let run = |program: &str| {
        let mut command = Command::new(binaries.program(program));
        command.current_dir("/").uid(owner.uid()).gid(owner.gid()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let copied = run("pg_basebackup")
        .args(["--checkpoint=fast", "--write-recovery-conf", "-D"])
        .arg(&data)
        .args(["--dbname", primary])
        .status()
        .expect("run");
    assert!(copied.success(), "pg_basebackup");
    run("postgres")
        .arg("-D")
        .arg(&data)
        .args(["-c", "listen_addresses=", "-c", "port=5432", "-c", "max_connections=200", "-c"])
        .arg(format!("unix_socket_directories={}", socket.display()))
        .spawn()
        .expect("run")
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_what_a_promoted_standby_has_lost_stays_dead_and_is_put_back() {
    let mut pair = Pair::start().await;
    let proxy = Proxy::before(&pair.primary.url(DATABASE));
    let clock = Clock::manual();
    let server = Setup::on(proxy.url(), clock.clone()).start().await;
    let other = Setup::on(proxy.url(), clock.clone()).start().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let (lost, kept, of_bob) = (alice.login().await, alice.login().await, bob.login().await);
    pair.until_standby_says("SELECT count(*) FROM refresh_tokens", |sessions| sessions == 3).await;

    pair.cut_replication().await;
    let revoked = alice.revoke(Target::SessionId(lost.session_id.clone())).await.expect("revoked");
    assert!(revoked.confirmed);
    bob.revoke(Target::UserId(bob.id.clone())).await.expect("revoked");
    proxy.cut();
    pair.fail_over().await;
    proxy.redirect(&pair.standby_url());
    proxy.mend();

    for replica in [&server, &other] {
        replica.catch_up().await;
        for (user, tokens) in [(&alice, &lost), (&bob, &of_bob)] {
            let user = user.at(replica);
            assert_eq!(refusal(user.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
            assert_eq!(refusal(user.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
        }
        alice.at(replica).verify(&kept.access_token).await.expect("it was not lost");
    }
    // One that has the new primary's log alone.
    let later = Setup::on(pair.standby_url(), clock).start().await;
    for (user, tokens) in [(&alice, &lost), (&bob, &of_bob)] {
        assert_eq!(refusal(user.at(&later).verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
    }
    alice.at(&later).rotate(&kept.refresh_token).await;
    let revoke = async || alice.revoke(Target::SessionId(kept.session_id.clone())).await.expect("revoked");
    assert_eq!(revoke().await.sessions_revoked, 1, "and all goes on");
    // Who observes the others may still have the connection that was cut: then it is not confirmed, and soon it is.
    let confirmed = async { while !revoke().await.confirmed {} };
    timeout(Duration::from_secs(60), confirmed).await.expect("in time");
    for server in [server, other, later] {
        server.stop().await.expect("stopped");
    }
}
