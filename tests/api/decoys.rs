//! Decoys: what a password is checked against when nobody has that name. Who sees the decoy of a name change learns that it
//! is made up.

use countersign::{
    domain::user::Username,
    grpc::v1::LoginRequest,
    store::{Store, StoreSettings, credentials},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::{MASTER_KEY, PASSWORD, Setup, TestServer, database, refusal};

const OTHER_MASTER_KEY: &str = "//////////////////////////////////////////8=";
const BCRYPT: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
const ARGON2: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    connection.execute(AssertSqlSafe(statement)).await.expect(statement);
}

/// Adds users with these numbers, in this order, who have this hash.
async fn add(url: &str, numbers: std::ops::Range<u32>, hash: &str) {
    let (from, to) = (numbers.start, numbers.end - 1);
    let statement = format!(
        "INSERT INTO users (id, username, password_hash, roles, epoch, password_changed_at, created_at, updated_at) \
         SELECT gen_random_uuid(), 'user' || n, '{hash}', '{{}}', 0, now(), now(), now() FROM generate_series({from}, {to}) n"
    );
    run(url, &statement).await;
}

/// The beginnings of the decoys of many names.
fn kinds(server: &TestServer) -> Vec<String> {
    let name = |n: u32| Username::parse(&format!("nobody{n}")).expect("a name");
    let of = |n| server.auth.passwords.decoy_of(&name(n)).expect("a kind").as_str()[..7].to_owned();
    (0..200).map(of).collect()
}

async fn look_again(server: &TestServer) -> Vec<String> {
    server.auth.sample_hashes().await.expect("sampled");
    kinds(server)
}

/// A server whose users have hashes of two kinds, as often.
async fn mixed() -> TestServer {
    let setup = Setup::new().await;
    add(&setup.database_url, 0..5, ARGON2).await;
    add(&setup.database_url, 5..10, BCRYPT).await;
    let server = setup.start().await;
    let moved = kinds(&server).iter().filter(|kind| *kind == &BCRYPT[..7]).count();
    assert!((60..140).contains(&moved), "{moved} of 200");
    server
}

#[tokio::test]
async fn p6_the_decoy_of_a_name_stays_when_keys_are_killed_or_deleted() {
    let server = mixed().await;
    let before = kinds(&server);
    let access = server.auth.keys.ring().signing().expect("a key").kid().to_owned();
    for kid in ["1", &access, "2"] {
        server.auth.keys.kill(kid).await.expect("killed");
        server.catch_up().await;
        assert!(look_again(&server).await == before, "{kid} was killed");
    }
    assert!(kinds(&server.replica().await) == before, "of a server that starts later");
    run(&server.database_url, "DELETE FROM keys").await;
    assert!(kinds(&server.replica().await) == before, "of a server that has made keys anew");
}

#[tokio::test]
async fn p6_servers_that_start_together_give_a_name_one_decoy() {
    let (first, second) = (Setup::new().await, mixed().await);
    add(&first.database_url, 0..5, ARGON2).await;
    add(&first.database_url, 5..10, BCRYPT).await;
    let starts = [(); 4].map(|()| tokio::spawn(Setup::on(first.database_url.clone(), first.clock.clone()).start()));
    let mut all = Vec::new();
    for start in starts {
        all.push(kinds(&start.await.expect("joined")));
    }
    assert!(all.iter().all(|kinds| *kinds == all[0]));
    assert!(all[0] != kinds(&second), "another service has another secret");
}

#[tokio::test]
async fn p6_the_secret_of_decoys_is_resealed_and_put_back_when_it_is_lost() {
    let server = mixed().await;
    let before = kinds(&server);
    let with = |master_key: String| {
        let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
        setup.master_key = master_key;
        setup
    };
    let resealing = with(format!("{OTHER_MASTER_KEY}\n{MASTER_KEY}\n")).without_start();
    assert_eq!(resealing.keys.reseal().await.expect("resealed").closed.len(), 0);
    let moved = with(OTHER_MASTER_KEY.to_owned()).start().await;
    assert!(kinds(&moved) == before);
    assert!(look_again(&server).await == before, "one that cannot open it any more knows it");
    run(&server.database_url, "DELETE FROM decoy_secret").await;
    assert!(look_again(&moved).await == before, "one that knows it puts it back");
    assert!(kinds(&with(OTHER_MASTER_KEY.to_owned()).start().await) == before);
}

/// As after a lost master key, when the rows of keys were deleted.
#[tokio::test]
async fn a_secret_of_decoys_that_does_not_open_hinders_no_start() {
    let server = mixed().await;
    run(&server.database_url, r"UPDATE decoy_secret SET sealed = '\x01'").await;
    let restarted = server.replica().await;
    assert!(kinds(&restarted) != kinds(&server));
    assert!(look_again(&server).await == kinds(&restarted), "all have the new one");
}

#[tokio::test]
async fn p6_nobody_logs_in_before_the_kinds_of_hashes_are_known_and_later_ones_stay() {
    let setup = Setup::new().await;
    let url = setup.database_url.clone();
    add(&url, 0..1, BCRYPT).await;
    run(&url, "ALTER TABLE decoy_secret RENAME TO away").await;
    let server = setup.start().await;
    let login = async |username: &str, password: &str| {
        let request = LoginRequest { username: username.into(), password: password.into(), ..Default::default() };
        server.auth_client().login(request).await
    };
    for name in ["user0", "nobody"] {
        assert_eq!(refusal(login(name, "wrong").await).1, "DATABASE_UNAVAILABLE", "{name}");
    }
    assert_eq!(server.auth.passwords.hasher().hashes(), 0);
    run(&url, "ALTER TABLE away RENAME TO decoy_secret").await;
    server.auth.sample_hashes().await.expect("sampled");
    login("user0", "U*U").await.expect("right");
    assert_eq!(refusal(login("nobody", PASSWORD).await).1, "INVALID_CREDENTIALS");
    let known = kinds(&server);
    run(&url, "ALTER TABLE decoy_secret RENAME TO away").await;
    assert!(server.auth.sample_hashes().await.is_err());
    assert!(kinds(&server) == known, "what was seen before counts");
    login("user0", "U*U").await.expect("right");
}

/// Number of bcrypt's hashes in a sample, and of all.
async fn sample(url: &str) -> (usize, usize) {
    let settings = StoreSettings { url: url.to_owned(), connections: 1, deadline: std::time::Duration::from_secs(10) };
    let store = Store::new(&settings).expect("settings");
    let hashes = credentials::sample_hashes(&mut store.acquire().await.expect("free"), 10_000).await.expect("sampled");
    store.close().await;
    let bcrypt = hashes.iter().filter(|hash| hash.as_str() == BCRYPT).count();
    (bcrypt, hashes.len())
}

/// Users who were imported first are first in the table, and nothing has counted them yet.
#[tokio::test]
async fn p6_the_kinds_have_their_true_shares_in_a_table_that_was_never_analyzed_or_vacuumed() {
    let url = database().await;
    run(&url, "ALTER TABLE users SET (autovacuum_enabled = false)").await;
    assert_eq!(sample(&url).await, (0, 0));
    add(&url, 0..1, BCRYPT).await;
    add(&url, 1..3, ARGON2).await;
    assert_eq!(sample(&url).await, (1, 3));
    run(&url, "DELETE FROM users").await;
    add(&url, 0..30_000, BCRYPT).await;
    add(&url, 30_000..100_000, ARGON2).await;
    let (bcrypt, count) = sample(&url).await;
    assert!((2600..=3400).contains(&bcrypt) && count == 10_000, "{bcrypt} of {count}");
    assert_eq!(sample(&url).await, (bcrypt, count), "the decoy of a name does not change by chance");
    // A third of each kind, at the beginning of the one and at the end of the other: few rows on many pages.
    run(&url, "DELETE FROM users WHERE substr(username, 5)::integer BETWEEN 500 AND 98999").await;
    assert_eq!(sample(&url).await, (500, 1500));
}
