//! Through PgBouncer in session mode, as Debian installs it: it refuses options of the start, and needs no exception for us.

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

use countersign::grpc::v1::revoke_request::Target;
use countersign_token::clock::Clock;
use sqlx::{ConnectOptions as _, postgres::PgConnectOptions};
use tokio::time::timeout;

use crate::support::{Setup, database, refusal};

/// A pooler before one database. It ends with the test.
struct PgBouncer {
    child: Child,
    dir: PathBuf,
}

impl PgBouncer {
    async fn before(url: &str) -> Self {
        let (_, rest) = url.split_once("?host=").expect("a socket URL");
        let socket = Path::new(rest.split('&').next().expect("host"));
        let database = url.split('?').next().and_then(|url| url.rsplit('/').next()).expect("a database");
        let dir = env::temp_dir().join(format!("cs-pgbouncer-{}", std::process::id()));
        fs::create_dir(&dir).expect("created");
        // It refuses root, and only the owner of the cluster may use its socket.
        let owner = fs::metadata(socket).expect("a cluster");
        let settings = format!(
            "[databases]\n{database} = host={} port=5432 user=countersign\n\
             [pgbouncer]\nlisten_port = 5432\nunix_socket_dir = {}\nauth_type = any\npool_mode = session\n\
             default_pool_size = 60\n",
            socket.display(),
            dir.display()
        );
        fs::write(dir.join("pgbouncer.ini"), settings).expect("written");
        chown(&dir, Some(owner.uid()), Some(owner.gid())).expect("given away");
        let pooler = Self { child: run(&dir, owner.uid(), owner.gid()), dir };
        let options: PgConnectOptions = pooler.url(database).parse().expect("a URL");
        let options = options.extra_float_digits(None);
        let ready = async { while options.connect().await.is_err() {} };
        timeout(Duration::from_secs(60), ready).await.expect("it starts");
        pooler
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://countersign@localhost:5432/{database}?host={}&sslmode=disable", self.dir.display())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn run(dir: &Path, uid: u32, gid: u32) -> Child {
    let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
    let program = program.iter().find(|program| Path::new(program).exists());
    let program = program.expect("PgBouncer is needed for this test: apt-get install pgbouncer");
    let mut command = Command::new(program);
    command.arg("--quiet").arg(dir.join("pgbouncer.ini")).current_dir("/").uid(uid).gid(gid);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("run")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_works_through_a_pooler_that_passes_no_options_on() {
    let direct = database().await;
    let pooler = PgBouncer::before(&direct).await;
    let name = direct.split('?').next().and_then(|url| url.rsplit('/').next()).expect("a database");
    let server = Setup::on(pooler.url(name), Clock::manual()).start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    alice.at(&other).verify(&tokens.access_token).await.expect("verified");
    let rotated = alice.rotate(&tokens.refresh_token).await;
    let revoked = alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    assert!(revoked.confirmed && revoked.sessions_revoked == 1);
    for replica in [&server, &other] {
        assert_eq!(refusal(alice.at(replica).verify(&rotated.access_token).await).1, "TOKEN_REVOKED");
    }
    for server in [server, other] {
        server.stop().await.expect("stopped");
    }
}
