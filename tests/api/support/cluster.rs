//! One cluster for this binary, a migrated template in it, and a database of its own for each test.

use std::{
    env,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use countersign::store::{Store, StoreSettings};
use private_postgres::{Cluster, Durability, LaunchError, Refusal};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;

const TEMPLATE: &str = "template_countersign";

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static TEMPLATE_READY: OnceCell<()> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The URL of a fresh, migrated database.
pub(crate) async fn database() -> String {
    TEMPLATE_READY.get_or_init(make_template).await;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect(&cluster().url("postgres")).await.expect("connect");
    // The only strategy before Postgres 15, and the faster one since.
    let strategy = if connection.server_version_num() < Some(150_000) { "" } else { "STRATEGY file_copy" };
    let statement = format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE} {strategy}");
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("created");
    connection.close().await.expect("close");
    cluster().url(&name)
}

/// The URL of a fresh, empty database in this encoding.
pub(crate) async fn database_in(encoding: &str) -> String {
    let name = format!("encoded_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let kind = format!("ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    admin(&format!("CREATE DATABASE {name} {kind}")).await;
    cluster().url(&name)
}

/// Waits until a statement of this database waits for a lock.
pub(crate) async fn somebody_waits(url: &str) {
    so_many_wait(url, 1).await;
}

/// Waits until so many statements of this database wait for a lock.
pub(crate) async fn so_many_wait(url: &str, count: i64) {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let seen = async {
        while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut connection).await.expect("counted") < count {}
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("somebody waits");
}

/// Postgres 12 comes without it. Stories write rows by it; the service does not need it.
const RANDOM_UUID: &str = "DO $$ BEGIN IF current_setting('server_version_num')::int < 130000 THEN \
    CREATE FUNCTION gen_random_uuid() RETURNS uuid LANGUAGE sql AS 'SELECT md5(random()::text || random())::uuid'; \
    END IF; END $$";

async fn make_template() {
    admin(&format!("CREATE DATABASE {TEMPLATE}")).await;
    let settings = StoreSettings { url: cluster().url(TEMPLATE), connections: 1, deadline: Duration::from_secs(10) };
    let store = Store::new(&settings).expect("settings");
    assert_eq!(store.missing_migrations().await.expect("count"), 14);
    store.migrate().await.expect("migrated");
    let mut template = PgConnection::connect(&cluster().url(TEMPLATE)).await.expect("connect");
    template.execute(RANDOM_UUID).await.expect(RANDOM_UUID);
    template.close().await.expect("close");
    assert_eq!(store.missing_migrations().await.expect("count"), 0);
    store.close().await;
}

async fn admin(statement: &str) {
    let mut connection = PgConnection::connect(&cluster().url("postgres")).await.expect("connect");
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect(statement);
    connection.close().await.expect("close");
}

fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(start)
}

/// Takes the first directory that no other test binary uses. The cluster ends with this process and its directory is
/// used again, so that nothing piles up.
fn start() -> Cluster {
    (0..100)
        .find_map(|slot| {
            let user = rustix::process::getuid();
            let dir = env::temp_dir().join(format!("countersign-api-tests-{user}-{slot}"));
            match Cluster::start(&dir, Durability::Throwaway) {
                Err(LaunchError::Refused { refusal: Refusal::Busy, .. }) => None,
                result => Some(result.expect("a Postgres on this machine")),
            }
        })
        .expect("a free directory")
}
