//! The database's side of the promises: statements that meet, constraints, keys, and a log without gaps.

use std::{collections::HashSet, time::Duration};

use countersign::{
    domain::{
        password_hash::PasswordHash,
        replica::Report,
        revocation::{LogEntry, Position, Reason},
        rotation::{Decision, GenerationChange, RotationPolicy, decide},
        user::{User, Username},
    },
    error::Error,
    grpc::v1::{DeleteUserRequest, revoke_request::Target},
    store::{
        Store, StoreSettings, credentials,
        replicas::{self, Member},
        revocation_log, revocations,
        sessions::{self, RotationUpdate},
        users,
    },
};
use countersign_token::{
    clock::Clock,
    ids::{SessionId, UserId},
    revocation::{RETENTION, Revocation, Subject},
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use time::OffsetDateTime;
use tonic_health::pb::health_check_response::ServingStatus;
use uuid::Uuid;

use crate::support::{PASSWORD, Setup, TestServer, database, live_sessions, refusal, somebody_waits};

fn store(url: &str) -> Store {
    let settings = StoreSettings { url: url.to_owned(), connections: 8, deadline: Duration::from_secs(5) };
    Store::new(&settings).expect("settings")
}

async fn run(url: &str, statement: &'static str) {
    connect(url).await.execute(statement).await.expect(statement);
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("connect")
}

fn revocation(now: OffsetDateTime) -> Revocation {
    Revocation { subject: Subject::Session(SessionId::new(now)), expires_at: now + RETENTION }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_no_gaps_whatever_commits_in_whatever_order() {
    let store = store(&database().await);
    let now = Clock::system().now();
    let writers = (0..16).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut tx = store.acquire().await.expect("connection");
            tx.begin().await.expect("begun");
            let batch = vec![(revocation(now), Reason::Revoked); 1 + i % 3];
            revocations::append(&mut tx, &batch, now).await.expect("appended");
            // Every fourth is rolled back: its numbers must not be missing.
            if i % 4 != 0 {
                tx.commit().await.expect("committed");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("joined");
    }
    let mut conn = store.acquire().await.expect("connection");
    let (extent, logged) = revocation_log::load(&mut conn, 0).await.expect("loaded");
    let head = extent.newest.seq;
    assert!(head > 12);
    let member = Member { replica: Uuid::nil(), max_staleness: Duration::from_secs(7) };
    let report = |applied| Report { applied, count: 1 };
    let all = replicas::heartbeat(&mut conn, member, report(Position::default())).await.expect("heard").entries;
    let heard = replicas::heartbeat(&mut conn, member, report(all[2].position())).await.expect("heard");
    assert!(
        heard.head == head && heard.entries.iter().map(|entry| entry.seq).eq(3..=head),
        "no number is missing from the known row on: {heard:?}"
    );
    assert_eq!((Some(extent.newest), extent.log), (heard.entries.last().map(LogEntry::position), heard.origin.log));
    assert!(heard.origin.settled, "the log that the schema was made in");
    assert_eq!((extent.rows(), logged.len()), (logged.len(), usize::try_from(head).expect("small")));
    let mut read = heard.entries.iter().map(|entry| &entry.revocation);
    assert!(read.all(|revocation| logged.contains(revocation)), "what is read is what was written");
    let forged = Position { seq: 4, id: Some(Uuid::nil()) };
    for (applied, counted) in [(all[2].position(), 3), (forged, 0), (Position { seq: head + 1, ..forged }, 0)] {
        replicas::heartbeat(&mut conn, member, report(applied)).await.expect("heard");
        let reading = replicas::list(&mut conn, &[forged, all[4].position()]).await.expect("listed");
        let [listed] = &reading.replicas[..] else {
            panic!("{reading:?}");
        };
        assert_eq!((listed.applied_seq, listed.max_staleness), (counted, Duration::from_secs(7)), "{applied:?}");
        assert_eq!((&reading.shown[..], reading.log), (&[all[4].position()][..], Some(heard.origin.log)));
        for (applied, counted) in [(forged, 0), (all[2].position(), 3)] {
            replicas::read(&mut conn, member.replica, applied).await.expect("heard");
            let listed = replicas::list(&mut conn, &[]).await.expect("listed").replicas;
            assert_eq!(listed[0].applied_seq, counted, "between heartbeats: {applied:?}");
        }
    }
}

#[tokio::test]
async fn a_load_of_the_log_gives_every_kind_of_row() {
    let store = store(&database().await);
    let now = Clock::system().now().replace_nanosecond(0).expect("a whole second");
    let subjects = [Subject::User(UserId::new(now), 7), Subject::Session(SessionId::new(now)), Subject::Keys];
    let written = subjects.map(|subject| Revocation { subject, expires_at: now + RETENTION });
    let mut tx = store.acquire().await.expect("connection");
    tx.begin().await.expect("begun");
    let rows = written.clone().map(|revocation| (revocation, Reason::Revoked));
    revocations::append(&mut tx, &rows, now).await.expect("appended");
    tx.commit().await.expect("committed");
    for (after, count) in [(0, 3), (2, 1), (3, 0)] {
        let (extent, logged) = revocation_log::load(&mut tx, after).await.expect("loaded");
        assert_eq!((extent.newest.seq, extent.newest.id.is_some(), logged.len()), (3, true, count), "after {after}");
        assert!(logged.iter().all(|revocation| written.contains(revocation)), "{logged:?}");
    }
}

#[tokio::test]
async fn a_long_log_is_loaded_page_by_page_and_each_row_once() {
    let url = database().await;
    run(
        &url,
        "INSERT INTO revocations (seq, id, kind, subject, expires_at, revoked_at, reason) \
         SELECT i, gen_random_uuid(), 'session', gen_random_uuid(), now(), now(), 'x' FROM generate_series(3, 120000) i",
    )
    .await;
    run(&url, "UPDATE revocation_head SET seq = 120000").await;
    let mut conn = store(&url).acquire().await.expect("connection");
    for (after, count) in [(0, 119_998), (2, 119_998), (3, 119_997), (100_003, 19_997), (120_000, 0)] {
        let (extent, logged) = revocation_log::load(&mut conn, after).await.expect("loaded");
        let different: HashSet<String> = logged.iter().map(|revocation| format!("{:?}", revocation.subject)).collect();
        assert_eq!((extent.rows(), logged.len(), different.len()), (119_998, count, count), "after {after}");
    }
}

#[tokio::test]
async fn v5_a_row_of_the_log_that_cannot_be_read_is_an_error_and_never_skipped() {
    let url = database().await;
    run(&url, "ALTER TABLE revocations DROP CONSTRAINT revocations_kind_check").await;
    run(
        &url,
        "INSERT INTO revocations SELECT 1, gen_random_uuid(), 'galaxy', gen_random_uuid(), NULL, now(), now(), 'x'",
    )
    .await;
    run(&url, "UPDATE revocation_head SET seq = 1").await;
    let mut conn = store(&url).acquire().await.expect("connection");
    assert!(matches!(revocation_log::load(&mut conn, 0).await, Err(Error::Internal(_))));
    let member = Member { replica: Uuid::nil(), max_staleness: Duration::from_secs(1) };
    let report = Report { applied: Position::default(), count: 1 };
    assert!(matches!(replicas::heartbeat(&mut conn, member, report).await, Err(Error::Internal(_))));
}

#[tokio::test]
async fn v4_a_database_that_lost_the_log_revives_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let other = alice.login().await;
    alice.revoke(Target::SessionId(tokens.session_id.clone())).await.expect("revoked");
    run(&server.database_url, "DELETE FROM revocations").await;
    run(&server.database_url, "UPDATE revocation_head SET seq = 0").await;
    server.catch_up().await;
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
    alice.revoke(Target::SessionId(other.session_id.clone())).await.expect("revoked");
    server.catch_up().await;
    assert_eq!(refusal(alice.verify(&other.access_token).await).1, "TOKEN_REVOKED");
}

/// The statement that tries a rotation without a look must do so exactly when the decision table would.
#[tokio::test]
async fn the_rotation_statement_agrees_with_the_decision_table() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (store, policy) = (
        store(&server.database_url),
        RotationPolicy { grace: Duration::from_secs(30), late_retry: Duration::from_secs(86_400) },
    );
    let day = Duration::from_secs(86_400);
    for setup in [
        "SELECT 1",
        "UPDATE refresh_tokens SET generation = 5, previous_generation = 4",
        "UPDATE refresh_tokens SET generation = 5, previous_generation = 2",
        "UPDATE refresh_tokens SET generation = 4294967295, previous_generation = 4294967294",
        "UPDATE refresh_tokens SET revoked_at = now(), revoked_reason = 'x'",
        "UPDATE users SET disabled_at = now()",
    ] {
        for after in [Duration::ZERO, day, 14 * day, 31 * day] {
            for presented in [1, 2, 4, 5, 7, u32::MAX - 1] {
                run(&server.database_url, "UPDATE users SET disabled_at = NULL").await;
                let id = SessionId::parse(&alice.login().await.session_id).expect("id");
                run(&server.database_url, setup).await;
                let mut conn = store.acquire().await.expect("connection");
                let session = sessions::find_all(&mut conn, &[id]).await.expect("read").remove(0);
                let now = session.created_at + after;
                let decided = decide(&session.rotation, presented, policy, now);
                let step = GenerationChange::rotation(presented).expect("below the end");
                let advance = RotationUpdate {
                    session_id: id,
                    step,
                    now,
                    idle_expires_at: now + day,
                    client: None,
                    only_of: None,
                };
                let mut tried = store.acquire().await.expect("connection");
                tried.begin().await.expect("begun");
                let alone = sessions::advance(&mut tried, &advance).await.expect("tried").is_some();
                // Rolled back.
                drop(tried);
                let with_others = sessions::advance_all(&mut conn, &[advance]).await.expect("tried").len() == 1;
                let expected = decided == Decision::Rotate(step);
                let case = format!("{setup} after {after:?}: {presented} {decided:?}");
                assert_eq!((alone, with_others), (expected, expected), "{case}");
                run(&server.database_url, "DELETE FROM refresh_tokens").await;
            }
        }
    }
}

#[tokio::test]
async fn the_constraints_hold() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let store = store(&server.database_url);
    let mut conn = store.acquire().await.expect("connection");
    let id = UserId::parse(&alice.id).expect("id");
    let user = users::find(&mut conn, id).await.expect("read").expect("there");
    let mut twin = User { username: Username::parse("twin").expect("name"), ..user.clone() };
    let hash = PasswordHash::from_stored("x".into());
    assert!(matches!(users::insert(&mut conn, &twin, &hash).await, Err(Error::Internal(_))), "same id");
    twin.username = user.username.clone();
    twin.id = UserId::new(user.created_at);
    assert!(matches!(users::insert(&mut conn, &twin, &hash).await, Err(Error::UsernameTaken)));
    alice.login().await;
    assert!(users::delete(&mut conn, id).await.is_err(), "sessions go first");
    assert!(matches!(users::update(&mut conn, &twin).await, Err(Error::UserNotFound)));
    assert!(users::find(&mut conn, id).await.expect("the connection still works").is_some());
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back() {
    let store = store(&database().await);
    let now = Clock::system().now();
    let mut tx = store.acquire().await.expect("connection");
    tx.begin().await.expect("begun");
    revocations::append(&mut tx, &[(revocation(now), Reason::Revoked)], now).await.expect("appended");
    drop(tx);
    let mut conn = store.acquire().await.expect("connection");
    let (extent, logged) = revocation_log::load(&mut conn, 0).await.expect("loaded");
    assert_eq!((extent.newest, logged), (Position::default(), vec![]));
}

#[tokio::test]
async fn a_revocation_wakes_the_followers() {
    let server = TestServer::start().await;
    let _other = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut listener = store(&server.database_url).listen().await.expect("listening");
    alice.revoke(Target::SessionId(tokens.session_id)).await.expect("revoked");
    let notified = tokio::time::timeout(Duration::from_secs(30), listener.recv(Uuid::nil())).await;
    notified.expect("in time").expect("a notification");
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_login_that_meets_a_password_change_opens_no_session() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let id = UserId::parse(&alice.id).expect("id");
    let store = store(&server.database_url);
    let mut tx = store.acquire().await.expect("connection");
    tx.begin().await.expect("begun");
    users::lock(&mut tx, id).await.expect("locked");
    let another = PasswordHash::from_stored("another hash".into());
    credentials::set_password(&mut tx, id, &another, None, server.clock.now()).await.expect("set");
    let login = tokio::spawn(async move { alice.login_with(PASSWORD).await });
    somebody_waits(&server.database_url).await;
    tx.commit().await.expect("committed");
    let refused = refusal(login.await.expect("joined"));
    assert_eq!(refused.1, "INTERNAL", "it started over, and met a hash that is none");
    assert_eq!(live_sessions(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_a_refresh_that_meets_a_revoke_gives_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let id = SessionId::parse(&tokens.session_id).expect("id");
    let store = store(&server.database_url);
    let mut tx = store.acquire().await.expect("connection");
    tx.begin().await.expect("begun");
    sessions::revoke(&mut tx, &[id], Reason::Revoked, server.clock.now()).await.expect("marked");
    let refresh = tokio::spawn(async move { alice.refresh(&tokens.refresh_token).await });
    somebody_waits(&server.database_url).await;
    tx.commit().await.expect("committed");
    assert_eq!(refusal(refresh.await.expect("joined")).1, "REFRESH_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn r65_a_revoke_that_meets_a_refresh_ends_what_it_gave() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    // The rotation of a slow refresh: its row is locked until we commit.
    let mut slow = connect(&server.database_url).await;
    slow.execute("BEGIN; UPDATE refresh_tokens SET generation = 2, previous_generation = 1").await.expect("rotated");
    let (revoker, session) = (alice.clone(), tokens.session_id.clone());
    let revoke = tokio::spawn(async move { revoker.revoke(Target::SessionId(session)).await });
    somebody_waits(&server.database_url).await;
    slow.execute("COMMIT").await.expect("committed");
    assert_eq!(revoke.await.expect("joined").expect("revoked").sessions_revoked, 1);
    assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
    assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
}

/// A replica that is lost in the middle of a transaction must not stop the others for longer than the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn v8_a_lock_that_is_not_given_back_is_an_outage_within_the_deadline() {
    let mut setup = Setup::new().await;
    setup.database_deadline = Duration::from_millis(300);
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut lost = connect(&server.database_url).await;
    lost.execute("BEGIN; UPDATE revocation_head SET seq = seq").await.expect("locked");
    let target = Target::SessionId(tokens.session_id);
    assert_eq!(refusal(alice.revoke(target.clone()).await).1, "DATABASE_UNAVAILABLE");
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut observer = connect(&server.database_url).await;
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut observer).await.expect("counted") > 0 {}
    lost.close().await.expect("gone");
    assert_eq!(alice.revoke(target).await.expect("revoked").sessions_revoked, 1);
}

#[tokio::test]
async fn v9_a_database_that_accepts_no_write_makes_nothing_fresh() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut connect(&server.database_url).await)
        .await
        .expect("a name");
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    connect(&server.database_url).await.execute(sqlx::AssertSqlSafe(read_only)).await.expect("read-only");
    let mut setup = Setup::new().await;
    (setup.database_url, setup.clock) = (server.database_url.clone(), server.clock.clone());
    let replica = setup.launch().await.expect("it starts");
    let there = alice.at(&replica);
    // It loads the log at once and again five times a second; none of that may count.
    for _ in 0..100 {
        assert_eq!(refusal(there.verify(&tokens.access_token).await).1, "REVOCATIONS_STALE");
    }
}

#[tokio::test]
async fn v3_nothing_is_verified_before_the_first_load() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut blocker = connect(&server.database_url).await;
    blocker.execute("BEGIN; LOCK TABLE replicas").await.expect("locked");
    let mut setup = Setup::new().await;
    (setup.database_url, setup.clock) = (server.database_url.clone(), server.clock.clone());
    let replica = setup.launch().await.expect("it starts");
    let there = alice.at(&replica);
    somebody_waits(&server.database_url).await;
    assert_eq!(refusal(there.verify(&tokens.access_token).await).1, "REVOCATIONS_STALE");
    assert_eq!(replica.health().await, ServingStatus::NotServing);
    blocker.execute("COMMIT").await.expect("released");
    replica.catch_up().await;
    there.verify(&tokens.access_token).await.expect("valid");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_changes_of_one_password_that_race_give_one_new_password() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let changes: Vec<_> = (0..4)
        .map(|i| {
            let change = alice.change_password(&format!("new password number {i}"), "");
            let mut client = server.user_client();
            tokio::spawn(async move { client.change_password(change).await.is_ok() })
        })
        .collect();
    let mut changed = Vec::new();
    for (i, change) in changes.into_iter().enumerate() {
        if change.await.expect("joined") {
            changed.push(i);
        }
    }
    assert_eq!(changed.len(), 1);
    alice.login_with(&format!("new password number {}", changed[0])).await.expect("the one that was set");
}

#[tokio::test]
async fn a_user_with_very_many_sessions_is_ended_and_deleted_all_the_same() {
    let mut setup = Setup::new().await;
    setup.database_deadline = Duration::from_secs(1);
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    run(
        &server.database_url,
        "INSERT INTO refresh_tokens SELECT gen_random_uuid(), user_id, epoch, 1, 0, rotated_at, created_at, expires_at, \
         idle_expires_at, NULL, NULL, client_id, audience, '', '', '' FROM refresh_tokens, generate_series(1, 30000)",
    )
    .await;
    let ended = alice.revoke(Target::UserId(alice.id.clone())).await.expect("ended");
    assert_eq!(ended.sessions_revoked, 10_000, "counted up to a limit");
    assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
    assert_eq!(live_sessions(&server).await, 0);
    let delete = DeleteUserRequest { user_id: alice.id.clone() };
    server.user_client().delete_user(delete).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_that_queue_up_share_a_transaction() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut head = connect(&server.database_url).await;
    head.execute("BEGIN; UPDATE revocation_head SET seq = seq").await.expect("locked");
    let revoke = |session_id: String| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.revoke(Target::SessionId(session_id)).await.expect("revoked") })
    };
    let first = revoke(alice.login().await.session_id);
    somebody_waits(&server.database_url).await;
    let mut sessions = Vec::new();
    for _ in 0..9 {
        sessions.push(alice.login().await);
    }
    let mut queued = Vec::new();
    for session in &sessions {
        queued.push(revoke(session.session_id.clone()));
    }
    // One of them twice: it has ended once.
    queued.push(revoke(sessions[0].session_id.clone()));
    while server.auth.sessions.ending().len() < queued.len() {
        tokio::task::yield_now().await;
    }
    head.execute("COMMIT").await.expect("released");
    let mut ended = first.await.expect("joined").sessions_revoked;
    for revoke in queued {
        ended += revoke.await.expect("joined").sessions_revoked;
    }
    assert_eq!((ended, live_sessions(&server).await), (10, 0));
    let transactions: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT xmin::text) FROM revocations WHERE kind = 'session'")
            .fetch_one(&mut head)
            .await
            .expect("counted");
    assert_eq!(transactions, 2, "the first, and all others together");
    for session in &sessions {
        assert_eq!(refusal(alice.verify(&session.access_token).await).1, "TOKEN_REVOKED");
    }
}
