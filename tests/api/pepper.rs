//! Peppers: a password hash that the database alone does not let anybody guess, and that is never lost or called wrong.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use argon2::{Algorithm, Argon2, Params, PasswordVerifier as _, Version, password_hash::phc::PasswordHash as Phc};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use countersign::{
    domain::key::{Purpose, Stage},
    domain::policy::PepperMode,
    grpc::v1::{ImportUsersRequest, ImportedUser, LoginRequest, SetPasswordRequest},
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;
use tonic::Code;

use crate::support::{MASTER_KEY, PASSWORD, Setup, TestServer, administering, database, refusal};

async fn on() -> TestServer {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = PepperMode::On;
    setup.start().await
}

/// Another replica, with that setting.
async fn beside(server: &TestServer, pepper: PepperMode) -> TestServer {
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.settings.passwords.password_pepper = pepper;
    setup.start().await
}

async fn run(server: &TestServer, statement: &str) -> Result<(), String> {
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    connection.execute(AssertSqlSafe(statement)).await.map(drop).map_err(|error| error.to_string())
}

async fn hash_of(url: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    let stored = sqlx::query_scalar("SELECT password_hash FROM users WHERE username = $1").bind(name);
    stored.fetch_one(&mut connection).await.expect("there")
}

/// The hash once it begins like this: a Login does not wait until it has been replaced.
async fn hash_like(server: &TestServer, name: &str, prefix: &str) -> String {
    let replaced = async {
        loop {
            let hash = hash_of(&server.database_url, name).await;
            if hash.starts_with(prefix) {
                return hash;
            }
        }
    };
    timeout(Duration::from_secs(60), replaced).await.expect("it is replaced")
}

const PLAIN: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

fn by(kid: &str) -> String {
    format!("$argon2id$v=19$m=19456,t=2,p=1,keyid={kid}$")
}

/// The names of the peppers, newest first, and their secrets.
async fn peppers(server: &TestServer) -> Vec<(String, Vec<u8>)> {
    let exported = server.auth.keys.export_peppers().await.expect("read");
    assert!(exported.closed.is_empty());
    let decode = |secret: &str| STANDARD.decode(secret).expect("base64");
    exported.peppers.iter().rev().map(|p| (p.kid().to_owned(), decode(p.export().expose()))).collect()
}

async fn kid(server: &TestServer) -> String {
    peppers(server).await.remove(0).0
}

/// What somebody else's argon2 says.
fn matches(hash: &str, secret: Option<&[u8]>) -> bool {
    let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
    let argon2 = match secret {
        Some(secret) => Argon2::new_with_secret(secret, algorithm, version, Params::default()).expect("a secret"),
        None => Argon2::default(),
    };
    argon2.verify_password(PASSWORD.as_bytes(), &Phc::new(hash).expect("a PHC string")).is_ok()
}

#[tokio::test]
async fn a_hash_alone_does_not_let_anybody_test_a_guess() {
    let server = on().await;
    let alice = server.user("alice").await;
    let hash = hash_of(&server.database_url, "alice").await;
    let (kid, secret) = peppers(&server).await.remove(0);
    assert!(hash.starts_with(&by(&kid)), "{hash}");
    assert!(!matches(&hash, None) && !matches(&hash, Some(&[0; 32])));
    assert!(matches(&hash, Some(&secret)), "what is exported is argon2's secret");
    assert!(matches(&hash.replace(&format!(",keyid={kid}"), ""), Some(&secret)), "the name is not hashed");
    let off = beside(&server, PepperMode::Off).await;
    for replica in [&server, &off] {
        alice.at(replica).login().await;
        assert_eq!(refusal(alice.at(replica).login_with("wrong").await).1, "INVALID_CREDENTIALS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_make_one_pepper() {
    let setup = Setup::new().await;
    let starts = [(); 4].map(|()| {
        let mut setup = Setup::on(setup.database_url.clone(), setup.clock.clone());
        setup.settings.passwords.password_pepper = PepperMode::On;
        tokio::spawn(setup.start())
    });
    let mut kids = Vec::new();
    for (number, start) in starts.into_iter().enumerate() {
        let server = start.await.expect("joined");
        server.catch_up().await;
        let name = format!("user{number}");
        server.user(&name).await;
        kids.push(hash_of(&server.database_url, &name).await.split('$').nth(3).map(str::to_owned));
        assert_eq!(peppers(&server).await.len(), 1);
    }
    assert!(kids.windows(2).all(|pair| pair[0] == pair[1]), "{kids:?}");
}

#[tokio::test]
async fn r50_the_setting_decides_of_the_hash_at_the_next_login() {
    let plain = TestServer::start().await;
    let alice = plain.user("alice").await;
    assert!(peppers(&plain).await.is_empty(), "none is made that is not wanted");
    hash_like(&plain, "alice", PLAIN).await;
    let peppered = beside(&plain, PepperMode::On).await;
    alice.at(&peppered).login().await;
    hash_like(&plain, "alice", &by(&kid(&plain).await)).await;
    plain.catch_up().await;
    alice.login().await;
    hash_like(&plain, "alice", PLAIN).await;
    assert_eq!(peppers(&plain).await.len(), 1, "it stays, for those who have not logged in");
}

#[tokio::test]
async fn r50_a_pepper_that_was_replaced_checks_what_it_made_until_the_next_login() {
    let server = on().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let old = kid(&server).await;
    let new = server.auth.keys.rotate(Purpose::Pepper).await.expect("rotated");
    server.catch_up().await;
    assert!(old != new && new == kid(&server).await);
    alice.login().await;
    hash_like(&server, "alice", &by(&new)).await;
    alice.login().await;
    let refused = server.auth.keys.kill(&old).await.expect_err("refused").to_string();
    assert!(refused.contains("keys rotate --purpose pepper") && refused.lines().count() == 1, "{refused}");
    let killed = run(&server, "UPDATE keys SET stage = 'killed' WHERE purpose = 'pepper'").await;
    assert!(killed.expect_err("refused").contains("keys_pepper_check"));
    // Nothing rotates or goes by itself.
    for _ in 0..3 {
        server.pass(Duration::from_secs(40 * 24 * 3600)).await;
    }
    assert_eq!(peppers(&server).await.len(), 2);
    assert!(hash_of(&server.database_url, "bob").await.starts_with(&by(&old)));
    let restarted = beside(&server, PepperMode::On).await;
    bob.at(&restarted).login().await;
    hash_like(&server, "bob", &by(&new)).await;
}

#[tokio::test]
async fn a_pepper_is_not_rotated_where_there_is_none() {
    let server = TestServer::start().await;
    let refused = server.auth.keys.rotate(Purpose::Pepper).await.expect_err("refused").to_string();
    assert!(refused.contains("COUNTERSIGN_PASSWORD_PEPPER=on"), "{refused}");
}

/// One that hears late, because nobody notifies it and it asks ten times a second.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_pepper_that_is_not_known_yet_is_waited_for() {
    let one = on().await;
    let mut setup = Setup::on(one.database_url.clone(), one.clock.clone());
    setup.settings.revocation.notifications = countersign::domain::policy::Notifications::Off;
    let other = setup.start().await;
    for number in 0..5 {
        let kid = one.auth.keys.rotate(Purpose::Pepper).await.expect("rotated");
        one.catch_up().await;
        let user = one.user(&format!("user{number}")).await;
        assert!(hash_of(&one.database_url, &user.name).await.starts_with(&by(&kid)));
        user.at(&other).login().await;
    }
}

/// Damaged, sealed by another master key, or gone: nobody is told that the password was wrong, whether the name exists or
/// not, and nobody is throttled for it.
#[tokio::test]
async fn p4_p6_a_pepper_that_cannot_be_used_makes_passwords_undecided_and_counts_nothing() {
    let server = on().await;
    let alice = server.user("alice").await;
    server.auth.sample_hashes().await.expect("sampled");
    run(&server, "UPDATE keys SET sealed_key = '\\x01' WHERE purpose = 'pepper'").await.expect("damaged");
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.settings.passwords.password_pepper = PepperMode::On;
    let refused = setup.try_start().await.map(drop).expect_err("refused").to_string();
    assert!(refused.contains("does not open") && refused.lines().count() == 1, "{refused}");
    let exported = server.auth.keys.export_peppers().await.expect("read");
    assert_eq!((exported.peppers.len(), exported.closed.len()), (0, 1));
    server.auth.keys.rotate(Purpose::Pepper).await.expect("the way out for new passwords");
    server.catch_up().await;
    let restarted = beside(&server, PepperMode::On).await;
    restarted.auth.sample_hashes().await.expect("sampled");
    let before = restarted.auth.passwords.hasher().hashes();
    for (what, then) in [("it does not open", ""), ("it is gone", "DELETE FROM keys WHERE stage = 'retired'")] {
        run(&server, then).await.expect("done");
        let replica = if then.is_empty() { &restarted } else { &beside(&server, PepperMode::On).await };
        replica.auth.sample_hashes().await.expect("sampled");
        for (name, password) in [("alice", PASSWORD), ("alice", "wrong"), ("nobody", PASSWORD)].repeat(5) {
            let request = LoginRequest { username: name.into(), password: password.into(), ..Default::default() };
            let answer = refusal(replica.auth_client().login(request).await);
            assert_eq!(answer, (Code::Internal, "INTERNAL".to_owned()), "{name}: {what}");
        }
    }
    assert_eq!(restarted.auth.passwords.hasher().hashes(), before);
    let taken_back = async {
        let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
        let counted = "SELECT COALESCE(sum(attempts), 0) FROM login_throttle";
        while sqlx::query_scalar::<_, i64>(counted).fetch_one(&mut connection).await.expect("read") > 0 {}
    };
    timeout(Duration::from_secs(60), taken_back).await.expect("nothing is counted");
    // A new password is by the pepper that works.
    let (user_id, password) = (alice.id.clone(), PASSWORD.to_owned());
    server.user_client().set_password(administering(SetPasswordRequest { user_id, password })).await.expect("set");
    alice.at(&restarted).login().await;
}

/// Of an old backup, the keys alone: the worst that a failover could do.
#[tokio::test]
async fn a_pepper_that_the_database_has_lost_is_put_back() {
    let server = on().await;
    run(&server, "CREATE TABLE backup AS SELECT * FROM keys").await.expect("saved");
    let mut names = Vec::new();
    for name in ["alice", "bob"] {
        server.auth.keys.rotate(Purpose::Pepper).await.expect("rotated");
        server.catch_up().await;
        names.push((server.user(name).await, hash_of(&server.database_url, name).await));
    }
    run(&server, "DELETE FROM keys; INSERT INTO keys SELECT * FROM backup").await.expect("lost");
    server.auth.keys.look_after().await.expect("looked after");
    assert_eq!(peppers(&server).await.len(), 3);
    let restarted = beside(&server, PepperMode::On).await;
    for (user, hash) in names {
        assert_eq!(hash_of(&server.database_url, &user.name).await, hash);
        user.at(&restarted).login().await;
    }
}

#[tokio::test]
async fn peppers_are_resealed_with_the_other_keys() {
    let server = on().await;
    let alice = server.user("alice").await;
    let other = "//////////////////////////////////////////8=";
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.master_key = format!("{other}\n{MASTER_KEY}\n");
    let resealed = setup.without_start().keys.reseal().await.expect("resealed");
    assert_eq!((resealed.count, resealed.closed.len()), (6, 0));
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.master_key = other.to_owned();
    alice.at(&setup.start().await).login().await;
}

fn command(url: &str, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(args).env("COUNTERSIGN_LOG", "warn").env("COUNTERSIGN_DATABASE_URL", url);
    command.env("COUNTERSIGN_MASTER_KEY", MASTER_KEY).env("COUNTERSIGN_PASSWORD_PEPPER", "on");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("read");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// It opens no key to administer users.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_command_line_sets_is_given_its_pepper_by_the_first_login() {
    let server = on().await;
    let url = &server.database_url;
    let added = command(url, &["user", "add", "carol", "--password-stdin"], PASSWORD);
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert!(matches(&hash_like(&server, "carol", PLAIN).await, None));
    assert_eq!(text(&command(url, &["user", "export"], "").stderr), "", "no hash has a pepper");
    let request = LoginRequest { username: "carol".into(), password: PASSWORD.into(), ..Default::default() };
    server.auth_client().login(request).await.expect("logged in");
    hash_like(&server, "carol", &by(&kid(&server).await)).await;
    let exported = command(url, &["user", "export"], "");
    let said = text(&exported.stderr);
    assert!(said.starts_with("hashes that have a pepper: 1;") && said.contains("keys export-peppers"), "{said}");
    // They would be of no use there.
    let imported = command(&database().await, &["user", "import", "-"], &text(&exported.stdout));
    assert!(text(&imported.stderr).contains("argon2 without keyid"), "{}", text(&imported.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_rotates_and_exports_peppers() {
    let server = on().await;
    let (url, old) = (&server.database_url, kid(&server).await);
    let rotated = text(&command(url, &["keys", "rotate", "--purpose", "pepper"], "").stdout);
    let new = kid(&server).await;
    assert_eq!(rotated, format!("{new} goes into new password hashes from now on\n"));
    let listed = text(&command(url, &["keys", "list"], "").stdout);
    for (kid, stage) in [(&old, Stage::Retired), (&new, Stage::Active)] {
        let line = listed.lines().find(|line| line.contains(kid.as_str())).expect("listed");
        assert!(line.starts_with("pepper ") && line.contains(stage.as_str()), "{line}");
    }
    let exported = text(&command(url, &["keys", "export-peppers"], "").stdout);
    let expected = peppers(&server).await.into_iter().rev();
    let expected: String = expected.map(|(kid, secret)| format!("{kid} {}\n", STANDARD.encode(secret))).collect();
    assert!(exported == expected, "both, name and secret");
    let killed = command(url, &["keys", "kill", &new], "");
    assert_eq!(killed.status.code(), Some(1));
    assert!(text(&killed.stderr).contains("keys rotate --purpose pepper"));
}

#[tokio::test]
async fn where_a_pepper_is_required_a_hash_without_one_is_of_no_use_and_looks_like_any_other() {
    let plain = TestServer::start().await;
    let (alice, bob) = (plain.user("alice").await, plain.user("bob").await);
    let required = beside(&plain, PepperMode::Required).await;
    let before = required.auth.passwords.hasher().hashes();
    for (name, password) in [("alice", PASSWORD), ("alice", "wrong"), ("nobody", "wrong")] {
        let request = LoginRequest { username: name.into(), password: password.into(), ..Default::default() };
        let status = required.auth_client().login(request).await.map(drop).expect_err("refused");
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unauthenticated, "unknown user or wrong password"),
            "{name}"
        );
    }
    assert_eq!(required.auth.passwords.hasher().hashes() - before, 3, "each costs a hash");
    let set = SetPasswordRequest { user_id: alice.id.clone(), password: PASSWORD.into() };
    required.user_client().set_password(administering(set)).await.expect("set");
    alice.at(&required).login().await;
    let user = ImportedUser {
        username: "carol".into(),
        password_hash: hash_of(&plain.database_url, "bob").await,
        ..Default::default()
    };
    let import = tokio_stream::once(ImportUsersRequest { dry_run: false, users: vec![user] });
    let refused = required.user_client().import_users(administering(import)).await.map(drop);
    assert_eq!(refusal(refused).0, Code::InvalidArgument);
    // Where it is not required, others log in, and get a hash that will do.
    let on = beside(&plain, PepperMode::On).await;
    bob.at(&on).login().await;
    hash_like(&plain, "bob", "$argon2id$v=19$m=19456,t=2,p=1,keyid=").await;
    bob.at(&required).login().await;
}

/// Hashes that somebody makes who can write the database and knows the names of peppers, but not their secrets.
#[tokio::test]
async fn no_hash_that_only_names_a_pepper_passes_for_one_that_has_it() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = PepperMode::Required;
    let server = setup.start().await;
    server.user("alice").await;
    let kid = kid(&server).await;
    let made = |salt: &[u8]| {
        let mut output = [0; 32];
        Argon2::default().hash_password_into(PASSWORD.as_bytes(), salt, &mut output).expect("hashed");
        let text = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes);
        (text(salt), text(&output))
    };
    let (ours, other) = (made(&[7; 16]), made(&[7; 17]));
    let login = async || {
        let request = LoginRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() };
        refusal(server.auth_client().login(request).await).1
    };
    for (hash, reason) in [
        (format!("{}{}${}", by(&kid), ours.0, ours.1), "INVALID_CREDENTIALS"),
        (format!("{}{}${}", by(&kid), other.0, other.1), "INTERNAL"),
        (format!("typed:{}{}${}", by(&kid), ours.0, ours.1), "INVALID_CREDENTIALS"),
        (format!("nfkc:{}{}${}", by(&kid), other.0, other.1), "INVALID_CREDENTIALS"),
        (format!("{PLAIN}{}${}", ours.0, ours.1), "INVALID_CREDENTIALS"),
    ] {
        run(&server, &format!("UPDATE users SET password_hash = '{hash}'")).await.expect("written");
        assert_eq!(login().await, reason, "{hash}");
    }
}
