//! A database that lost what it had acknowledged: a standby that was behind took over, or a backup was restored.

use std::time::Duration;

use countersign::{
    domain::policy::AfterRestore,
    grpc::v1::{TokenPair, revoke_request::Target},
};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    support::{Proxy, Setup, TestServer, User, refusal},
    watch::Watcher,
};

/// The database as it was, to go back to.
struct Backup(PgConnection);

const TABLES: [&str; 4] = ["revocations", "revocation_head", "refresh_tokens", "users"];

impl Backup {
    async fn of(server: &TestServer) -> Self {
        let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
        for table in TABLES {
            let copy = format!("CREATE TABLE backup_{table} AS SELECT * FROM {table}");
            connection.execute(sqlx::AssertSqlSafe(copy)).await.expect("copied");
        }
        Self(connection)
    }

    /// In one transaction, as a failover is one moment. `then` is what the new primary did since.
    async fn restore(&mut self, then: &str) {
        let mut script = "BEGIN;".to_owned();
        for table in TABLES {
            script += &format!("DELETE FROM {table};");
        }
        for table in TABLES.iter().rev() {
            script += &format!("INSERT INTO {table} SELECT * FROM backup_{table};");
        }
        script += &format!("{then};COMMIT");
        self.0.execute(sqlx::AssertSqlSafe(script)).await.expect("restored");
    }
}

/// Dead here, and for a replica that starts now and has the log alone.
async fn assert_dead_for_all(server: &TestServer, user: &User, all: &[&TokenPair]) {
    server.catch_up().await;
    let later = server.replica().await;
    for replica in [server, &later] {
        for tokens in all {
            assert_eq!(refusal(user.at(replica).verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
            assert_eq!(refusal(user.at(replica).refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
        }
    }
}

#[tokio::test]
async fn p1_revocations_that_the_database_has_lost_are_put_back() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let (one, two, kept) = (alice.login().await, alice.login().await, alice.login().await);
    let (of_bob, bystander) = (bob.login().await, server.user("carol").await);
    let alive = bystander.login().await;
    let mut backup = Backup::of(&server).await;
    for tokens in [&one, &two] {
        alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    }
    bob.revoke(Target::UserId(bob.id.clone())).await.expect("revoked");
    server.catch_up().await;
    other.catch_up().await;
    backup.restore("").await;
    other.catch_up().await;
    assert_dead_for_all(&server, &alice, &[&one, &two]).await;
    assert_dead_for_all(&server, &bob, &[&of_bob]).await;
    alice.rotate(&kept.refresh_token).await;
    bystander.rotate(&alive.refresh_token).await;
    let again: i64 = sqlx::query_scalar("SELECT count(*) FROM revocations WHERE reason = 'restored'")
        .fetch_one(&mut backup.0)
        .await
        .expect("counted");
    assert_eq!(again, 3, "by one of the two replicas");
}

/// The anchor: the new log has as many rows as the lost one, so only their ids tell.
#[tokio::test]
async fn p1_a_log_that_took_the_same_numbers_again_is_noticed_by_the_next_statement() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (lost, since) = (alice.login().await, alice.login().await);
    let mut backup = Backup::of(&server).await;
    alice.revoke(Target::SessionId(lost.session_id.clone())).await.expect("revoked");
    server.catch_up().await;
    let then = format!(
        "UPDATE revocation_head SET seq = seq + 1; \
         INSERT INTO revocations (seq, id, kind, subject, expires_at, revoked_at, reason) \
         SELECT seq, gen_random_uuid(), 'session', '{id}', now() + interval '3 hours', now(), 'revoked' FROM revocation_head; \
         UPDATE refresh_tokens SET revoked_at = now(), revoked_reason = 'revoked' WHERE session_id = '{id}'",
        id = since.session_id
    );
    backup.restore(&then).await;
    assert_dead_for_all(&server, &alice, &[&lost, &since]).await;
}

#[tokio::test]
async fn v4_a_first_load_that_is_cut_half_way_is_made_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (dead, alive) = (alice.login().await, alice.login().await);
    alice.revoke(Target::SessionId(dead.session_id.clone())).await.expect("revoked");
    let proxy = Proxy::before(&server.database_url);
    proxy.lose_answer_to(b"WHERE seq > $1 AND seq <= $2");
    let later = Setup::on(proxy.url(), server.clock.clone()).start().await;
    let alice = alice.at(&later);
    assert_eq!(refusal(alice.verify(&dead.access_token).await).1, "TOKEN_REVOKED");
    alice.verify(&alive.access_token).await.expect("valid");
}

#[tokio::test]
async fn old_rows_of_the_log_are_deleted_and_the_newest_stays() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    for _ in 0..3 {
        let tokens = alice.login().await;
        alice.revoke(Target::SessionId(tokens.session_id)).await.expect("revoked");
    }
    let count = "SELECT count(*) FROM revocations";
    let all: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("counted");
    server.auth.base.log.clean().await.expect("cleaned");
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.expect("counted"), all);
    server.advance(Duration::from_secs(3 * 3600 + 61)).await;
    server.auth.base.log.clean().await.expect("cleaned");
    let left: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("counted");
    assert_eq!(left, all, "one replica's clock that runs ahead deletes nothing");
    let passed = "UPDATE revocations SET expires_at = now() - interval '2 minutes'";
    connection.execute(passed).await.expect("as if hours had passed for the database too");
    server.auth.base.log.clean().await.expect("cleaned");
    assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.expect("counted"), 1, "the anchor");
    // The log goes on from there.
    let tokens = alice.login().await;
    alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    assert_dead_for_all(&server, &alice, &[&tokens]).await;
}

#[tokio::test]
async fn a_replica_that_died_leaves_the_list_after_a_while_and_one_that_wakes_comes_back() {
    let server = TestServer::start().await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    connection
        .execute(
            "INSERT INTO replicas (id, applied_seq, beats, max_staleness_ms) SELECT gen_random_uuid(), 0, 9, 30000",
        )
        .await
        .expect("a row of somebody who was killed");
    let listed = "SELECT count(*) FROM replicas";
    server.auth.base.log.clean().await.expect("it is seen");
    for (minutes, expected) in [(4, 2), (2, 1)] {
        server.advance(Duration::from_secs(minutes * 60)).await;
        server.auth.base.log.clean().await.expect("cleaned");
        let left: i64 = sqlx::query_scalar(listed).fetch_one(&mut connection).await.expect("counted");
        assert_eq!(left, expected, "after {minutes} more minutes");
    }
    connection.execute("DELETE FROM replicas").await.expect("as if this one had slept");
    server.catch_up().await;
    assert_eq!(sqlx::query_scalar::<_, i64>(listed).fetch_one(&mut connection).await.expect("counted"), 1);
}

/// As if a backup of `hours` ago had been restored over the running service.
async fn restore_old(server: &TestServer, backup: &mut Backup, hours: u32) {
    let aged = format!("UPDATE service_clock SET moved_at = now() - interval '{hours} hours'");
    backup.restore(&aged).await;
    server.catch_up().await;
}

/// REQUIREMENTS V14: what had ended since the backup is a live row again, and after three hours nobody remembers.
#[tokio::test]
async fn v14_after_a_restore_of_an_old_backup_no_session_is_refreshed_until_somebody_decides() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let (ended, alive) = (alice.login().await, alice.login().await);
    let mut backup = Backup::of(&server).await;
    alice.revoke(Target::SessionId(ended.session_id.clone())).await.expect("revoked");
    server.catch_up().await;
    // Forgotten by all: long ago, for the replicas.
    for replica in [&server, &other] {
        replica.advance(Duration::from_secs(4 * 3600)).await;
        replica.auth.revocations().state().evict_expired();
    }
    restore_old(&server, &mut backup, 9).await;
    for replica in [&server, &other, &server.replica().await] {
        for tokens in [&ended, &alive] {
            let refused = refusal(alice.at(replica).refresh(&tokens.refresh_token).await);
            assert_eq!(refused, (tonic::Code::Unavailable, "RESTORE_UNDECIDED".to_owned()));
        }
    }
    // Two minutes later, because the database's clock decides what was opened before.
    server.advance(Duration::from_secs(120)).await;
    let since = alice.login().await;
    alice.rotate(&since.refresh_token).await;

    let decide = || Setup::on(server.database_url.clone(), server.clock.clone()).without_start();
    assert!(decide().sessions.accept_restore().await.expect("accepted"));
    assert!(!decide().sessions.accept_restore().await.expect("accepted"), "once");
    alice.rotate(&alive.refresh_token).await;
    alice.rotate(&ended.refresh_token).await;
}

#[tokio::test]
async fn v14_an_operator_ends_all_sessions_of_before_by_one_row_of_the_log() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let before = [alice.login().await, alice.login().await];
    let sleeping = alice.login().await;
    let mut backup = Backup::of(&server).await;
    alice.revoke(Target::SessionId(before[0].session_id.clone())).await.expect("revoked");
    server.catch_up().await;
    restore_old(&server, &mut backup, 9).await;
    server.advance(Duration::from_secs(120)).await;
    let operator = Setup::on(server.database_url.clone(), server.clock.clone()).without_start();
    let too_late = operator.sessions.end_opened_before(server.clock.now() + Duration::from_secs(5)).await;
    assert!(too_late.is_err(), "nobody knows what will be opened");
    let moment = server.clock.now() - Duration::from_secs(10);
    let mut watcher = Watcher::of(&server, "").await;
    operator.sessions.end_opened_before(moment).await.expect("ended");
    watcher.until(|known| known.opened_before >= moment.unix_timestamp()).await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM revocations WHERE kind = 'opened_before'")
        .fetch_one(&mut backup.0)
        .await
        .expect("counted");
    assert_eq!(rows, 1);
    let since = alice.login().await;
    for replica in [&server, &other] {
        replica.catch_up().await;
        for tokens in &before {
            assert_eq!(refusal(alice.at(replica).verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
            assert_eq!(refusal(alice.at(replica).refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
        }
        alice.at(replica).verify(&since.access_token).await.expect("opened since");
    }
    let listed = countersign::grpc::v1::ListSessionsRequest { user_id: alice.id.clone(), ..Default::default() };
    let listed = server.auth_client().list_sessions(listed).await.expect("listed").into_inner().sessions;
    assert_eq!(listed.len(), 1);
    alice.rotate(&since.refresh_token).await;
    // Long after the log has forgotten it, and after the database has lost the floor and a replica has put it back.
    backup.0.execute("UPDATE session_floor SET ended_before = 'epoch'; DELETE FROM revocations").await.expect("lost");
    server.catch_up().await;
    server.advance(Duration::from_secs(4 * 3600)).await;
    server.auth.revocations().state().evict_expired();
    assert_eq!(refusal(alice.refresh(&sleeping.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
}

#[tokio::test]
async fn v14_a_setting_decides_beforehand() {
    for (setting, refreshed) in [(AfterRestore::EndAll, false), (AfterRestore::Accept, true)] {
        let mut setup = Setup::new().await;
        setup.settings.revocation.after_restore = setting;
        let server = setup.start().await;
        let alice = server.user("alice").await;
        let (lost, alive) = (alice.login().await, alice.login().await);
        let mut backup = Backup::of(&server).await;
        alice.revoke(Target::SessionId(lost.session_id.clone())).await.expect("revoked");
        server.catch_up().await;
        server.advance(Duration::from_secs(10)).await;
        restore_old(&server, &mut backup, 9).await;
        let answer = alice.refresh(&alive.refresh_token).await;
        assert_eq!(answer.is_ok(), refreshed, "{setting:?} {answer:?}");
    }
}

/// Replicas that start with a restored database remember nothing: its own note of where it was tells.
#[tokio::test]
async fn v14_a_service_that_starts_on_a_restored_database_asks() {
    for moved in ["timeline", "system_identifier", "relation"] {
        let server = TestServer::start().await;
        let alice = server.user("alice").await;
        let tokens = alice.login().await;
        let (url, clock) = (server.database_url.clone(), server.clock.clone());
        server.stop().await.expect("stopped");
        let mut connection = PgConnection::connect(&url).await.expect("connect");
        let restored = format!(
            "UPDATE log_identity SET {moved} = {moved} + 1; UPDATE service_clock SET moved_at = now() - interval '9 hours'"
        );
        connection.execute(sqlx::AssertSqlSafe(restored)).await.expect("as if it had come from elsewhere");
        let started = Setup::on(url, clock).start().await;
        assert_eq!(refusal(alice.at(&started).refresh(&tokens.refresh_token).await).1, "RESTORE_UNDECIDED", "{moved}");
        let audit = "SELECT count(*) FROM audit_events WHERE kind = 'restore_accepted'";
        started.auth.sessions.accept_restore().await.expect("accepted");
        alice.at(&started).rotate(&tokens.refresh_token).await;
        assert_eq!(sqlx::query_scalar::<_, i64>(audit).fetch_one(&mut connection).await.expect("counted"), 1);
    }
}

/// Servers that start one after the other deal with a restore once.
#[tokio::test]
async fn p2_a_restore_ends_no_session_that_was_opened_since() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let before = alice.login().await;
    let (url, clock) = (server.database_url.clone(), server.clock.clone());
    server.stop().await.expect("stopped");
    let mut connection = PgConnection::connect(&url).await.expect("connect");
    let restored = "UPDATE log_identity SET relation = relation + 1; UPDATE service_clock SET moved_at = now() - interval '9 hours'";
    connection.execute(restored).await.expect("as if it had come from elsewhere");
    let ending = || {
        let mut setup = Setup::on(url.clone(), clock.clone());
        setup.settings.revocation.after_restore = AfterRestore::EndAll;
        setup.start()
    };
    let first = ending().await;
    first.advance(Duration::from_secs(2)).await;
    let alice = alice.at(&first);
    assert_eq!(refusal(alice.refresh(&before.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
    let since = alice.login().await;
    first.advance(Duration::from_secs(2)).await;
    let second = ending().await;
    alice.at(&second).verify(&since.access_token).await.expect("opened since");
    alice.at(&second).rotate(&since.refresh_token).await;
    let audit = "SELECT count(*) FROM audit_events WHERE kind = 'sessions_ended' AND reason = 'restored'";
    assert_eq!(sqlx::query_scalar::<_, i64>(audit).fetch_one(&mut connection).await.expect("counted"), 1);
}
