//! The limit of a user's sessions, what ListSessions says of them, and the deletion of those that ended long ago.

use std::{collections::HashSet, time::Duration};

use countersign::{
    domain::policy::SessionLimitAction,
    grpc::v1::{ClientInfo, ListSessionsRequest, LoginRequest, TokenPair, revoke_request::Target},
    store::sessions::sweep::{self, Step},
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::{Code, Status};

use crate::support::{PASSWORD, Setup, TestServer, User, live_sessions, refusal, so_many_wait, somebody_waits};

const REACHED: (Code, &str) = (Code::FailedPrecondition, "SESSION_LIMIT_REACHED");

/// The setup of a replica that allows so many sessions.
fn limited(mut setup: Setup, most: u32, action: SessionLimitAction) -> Setup {
    setup.settings.sessions.max_sessions_per_user = most;
    setup.settings.sessions.session_limit_action = action;
    setup
}

/// A server that allows so many sessions, and another replica of it.
async fn two_replicas(most: u32, action: SessionLimitAction) -> [TestServer; 2] {
    let here = limited(Setup::new().await, most, action).start().await;
    let there = Setup::on(here.database_url.clone(), here.clock.clone());
    let there = limited(there, most, action).start().await;
    [here, there]
}

const AT_ONCE: usize = 8;

/// Logins at both replicas that all get as far as they can before the first of them opens its session.
async fn login_at_once(user: &User, replicas: &[TestServer; 2]) -> Vec<Result<TokenPair, Status>> {
    let mut gate = connect(&replicas[0]).await;
    gate.execute("BEGIN; LOCK TABLE refresh_tokens IN SHARE MODE").await.expect("locked");
    let logins = (0..AT_ONCE).map(|i| {
        let user = user.at(&replicas[i % 2]);
        tokio::spawn(async move { user.login_with(PASSWORD).await })
    });
    let logins: Vec<_> = logins.collect();
    so_many_wait(&replicas[0].database_url, i64::try_from(AT_ONCE).expect("few")).await;
    gate.execute("COMMIT").await.expect("released");
    let mut answers = Vec::new();
    for login in logins {
        answers.push(login.await.expect("joined"));
    }
    answers
}

async fn connect(server: &TestServer) -> PgConnection {
    PgConnection::connect(&server.database_url).await.expect("connect")
}

async fn assert_dead(user: &User, tokens: &TokenPair) {
    assert_eq!(refusal(user.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
    assert_eq!(refusal(user.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID");
}

/// Logs in a moment after whatever was before.
async fn login_later(user: &User, server: &TestServer) -> TokenPair {
    server.clock.advance(Duration::from_millis(2));
    user.login().await
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_logins_on_two_replicas_open_as_many_sessions_as_are_allowed_and_refuse_the_others() {
    let replicas = two_replicas(3, SessionLimitAction::Refuse).await;
    let alice = replicas[0].user("alice").await;
    let answers = login_at_once(&alice, &replicas).await;
    let (opened, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((opened.len(), live_sessions(&replicas[0]).await), (3, 3));
    for answer in refused {
        let (code, reason) = refusal(answer);
        assert_eq!((code, reason.as_str()), REACHED);
    }
    for tokens in opened {
        alice.rotate(&tokens.expect("opened").refresh_token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_logins_on_two_replicas_end_the_oldest_sessions_and_no_more_than_that() {
    let replicas = two_replicas(3, SessionLimitAction::EndOldest).await;
    let alice = replicas[0].user("alice").await;
    let before = alice.login().await;
    replicas[0].clock.advance(Duration::from_millis(2));
    let answers = login_at_once(&alice, &replicas).await;
    let opened: Vec<TokenPair> = answers.into_iter().map(|answer| answer.expect("logged in")).collect();
    assert_eq!(live_sessions(&replicas[0]).await, 3);
    assert_dead(&alice, &before).await;
    for server in &replicas {
        server.catch_up().await;
        let user = alice.at(server);
        let mut alive = 0;
        for tokens in &opened {
            let verified = user.verify(&tokens.access_token).await.is_ok();
            // One that is refreshed twice within the grace window gives the same successor.
            assert_eq!(user.refresh(&tokens.refresh_token).await.is_ok(), verified);
            alive += i32::from(verified);
        }
        assert_eq!(alive, 3);
    }
}

#[tokio::test]
async fn p1_the_oldest_session_is_dead_when_the_login_that_ended_it_answers() {
    let [here, there] = two_replicas(2, SessionLimitAction::EndOldest).await;
    let (alice, bob) = (here.user("alice").await, here.user("bob").await);
    let bystander = bob.login().await;
    let first = alice.login().await;
    let second = login_later(&alice, &here).await;
    // The age of a session is that of its login.
    let first = alice.rotate(&first.refresh_token).await;
    let third = login_later(&alice, &here).await;
    assert_dead(&alice, &first).await;
    there.catch_up().await;
    assert_dead(&alice.at(&there), &first).await;
    for tokens in [&second, &third] {
        alice.at(&there).verify(&tokens.access_token).await.expect("alive");
        alice.rotate(&tokens.refresh_token).await;
    }
    bob.rotate(&bystander.refresh_token).await;
    let reason: String = sqlx::query_scalar("SELECT revoked_reason FROM refresh_tokens WHERE revoked_at IS NOT NULL")
        .fetch_one(&mut connect(&here).await)
        .await
        .expect("one session has ended");
    assert_eq!(reason, "session_limit");
}

#[tokio::test]
async fn p6_the_limit_is_told_to_those_alone_who_know_the_password() {
    let [server, _] = two_replicas(1, SessionLimitAction::Refuse).await;
    let alice = server.user("alice").await;
    alice.login().await;
    assert_eq!(refusal(alice.login_with("wrong").await).1, "INVALID_CREDENTIALS");
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, REACHED.1);
    assert_eq!(live_sessions(&server).await, 1);
}

#[tokio::test]
async fn a_session_that_has_ended_in_any_way_makes_room() {
    let [server, _] = two_replicas(1, SessionLimitAction::Refuse).await;
    let alice = server.user("alice").await;
    let revoked = alice.login().await;
    alice.revoke(Target::SessionId(revoked.session_id)).await.expect("revoked");
    alice.login().await;
    alice.revoke(Target::UserId(alice.id.clone())).await.expect("revoked");
    alice.login().await;
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, REACHED.1);
    server.advance(Duration::from_secs(15 * 86_400)).await;
    alice.login().await;
}

#[tokio::test]
async fn users_with_more_sessions_than_are_allowed_by_now_come_down_to_the_limit() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    alice.login().await;
    let many = "INSERT INTO refresh_tokens SELECT gen_random_uuid(), user_id, epoch, 1, 0, rotated_at, created_at, expires_at, \
         idle_expires_at, NULL, NULL, client_id, audience, '', '', '' FROM refresh_tokens, generate_series(1, 1500)";
    connect(&server).await.execute(many).await.expect("as if the user had logged in often");
    let setup = Setup::on(server.database_url.clone(), server.clock.clone());
    let limited = limited(setup, 2, SessionLimitAction::EndOldest).start().await;
    let newest = [login_later(&alice.at(&limited), &limited).await, login_later(&alice.at(&limited), &limited).await];
    assert_eq!(live_sessions(&server).await, 2);
    for tokens in newest {
        alice.rotate(&tokens.refresh_token).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r43_a_login_within_a_limit_that_meets_a_disabling_opens_no_session() {
    let [server, _] = two_replicas(5, SessionLimitAction::EndOldest).await;
    let alice = server.user("alice").await;
    let mut disabling = connect(&server).await;
    disabling.execute("BEGIN; UPDATE users SET disabled_at = now(), epoch = epoch + 1").await.expect("disabled");
    let login = tokio::spawn(async move { alice.login_with(PASSWORD).await });
    somebody_waits(&server.database_url).await;
    disabling.execute("COMMIT").await.expect("committed");
    assert_eq!(refusal(login.await.expect("joined")).1, "INVALID_CREDENTIALS");
    assert_eq!(live_sessions(&server).await, 0);
}

#[tokio::test]
async fn list_sessions_says_where_and_when_each_is_used_and_when_it_ends() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let client = ClientInfo { ip: "192.0.2.1".into(), user_agent: "agent/1".into(), device: "phone".into() };
    let login = LoginRequest {
        username: "alice".into(),
        password: PASSWORD.into(),
        client: Some(client.clone()),
        ..Default::default()
    };
    let opened = server.auth_client().login(login).await.expect("logged in").into_inner().tokens.expect("tokens");
    let created = server.clock.now().unix_timestamp();
    server.advance(Duration::from_secs(20 * 86_400 / 2)).await;
    alice.rotate(&opened.refresh_token).await;
    let request = ListSessionsRequest { user_id: alice.id.clone(), ..Default::default() };
    let listed = server.auth_client().list_sessions(request).await.expect("listed").into_inner().sessions;
    let [session] = &listed[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(session.client, Some(client));
    let days = |at: Option<prost_types::Timestamp>| (at.expect("a moment").seconds - created) / 86_400;
    let moments = [session.created_at, session.last_refreshed_at, session.expires_at, session.absolute_expires_at];
    assert_eq!(moments.map(days), [0, 10, 24, 30]);
}

/// The sessions that the database still has.
async fn stored(connection: &mut PgConnection) -> HashSet<String> {
    let ids: Vec<String> =
        sqlx::query_scalar("SELECT session_id::text FROM refresh_tokens").fetch_all(connection).await.expect("listed");
    ids.into_iter().collect()
}

/// Looks at every session at least once, whoever else is at it and wherever that has come.
async fn sweep(server: &TestServer) {
    for _ in 0..2 {
        while server.auth.sessions.delete_ended().await.expect("deleted") != Step::Last {}
    }
}

async fn change(connection: &mut PgConnection, tokens: &TokenPair, what: &str) {
    let statement = format!("UPDATE refresh_tokens SET {what} WHERE session_id = '{}'", tokens.session_id);
    connection.execute(sqlx::AssertSqlSafe(statement)).await.expect("changed");
}

#[tokio::test]
async fn p2_sessions_are_deleted_that_ended_long_ago_in_any_way_and_no_others() {
    let server = TestServer::start().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let mut connection = connect(&server).await;
    let mut deleted = Vec::new();
    let mut kept = vec![alice.login().await];
    for ended in [
        "revoked_at = now() - $ * interval '1 hour', revoked_reason = 'x'",
        "expires_at = now() - $ * interval '1 hour'",
        "idle_expires_at = now() - $ * interval '1 hour'",
    ] {
        for (hours, list) in [("25", &mut deleted), ("23", &mut kept)] {
            let tokens = alice.login().await;
            change(&mut connection, &tokens, &ended.replace('$', hours)).await;
            list.push(tokens);
        }
    }
    let (early, late) = (bob.login().await, server.user("carol").await);
    let of_carol = late.login().await;
    for user in [&bob, &late] {
        user.revoke(Target::UserId(user.id.clone())).await.expect("revoked");
    }
    let long_ago = format!("UPDATE users SET updated_at = now() - interval '25 hours' WHERE id = '{}'", bob.id);
    connection.execute(sqlx::AssertSqlSafe(long_ago)).await.expect("as if it were long ago");
    deleted.push(early);
    kept.push(of_carol);
    for _ in 0..2 {
        sweep(&server).await;
        assert_eq!(stored(&mut connection).await, kept.iter().map(|tokens| tokens.session_id.clone()).collect());
    }
    for tokens in &deleted {
        assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "REFRESH_TOKEN_INVALID", "as before");
        let ended = alice.revoke(Target::RefreshToken(tokens.refresh_token.clone())).await.expect("ok");
        assert_eq!(ended.sessions_revoked, 0);
    }
    alice.rotate(&kept[0].refresh_token).await;
}

#[tokio::test]
async fn p2_one_wrong_clock_deletes_no_session() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut connection = connect(&server).await;
    server.advance(Duration::from_secs(100 * 86_400)).await;
    sweep(&server).await;
    assert_eq!(stored(&mut connection).await.len(), 1, "a replica's clock runs ahead");
    change(&mut connection, &tokens, "idle_expires_at = now() - interval '25 hours'").await;
    let mut conn = server.auth.base.store.acquire().await.expect("connection");
    let behind = server.clock.now() - Duration::from_secs(200 * 86_400);
    let step = sweep::step(&mut conn, behind, Duration::from_secs(86_400), 1000).await.expect("done");
    assert_eq!((step, stored(&mut connection).await.len()), (Step::Last, 1), "a replica's clock is behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deletion_waits_for_nobody_and_spares_what_is_being_refreshed() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (refreshed, ended) = (alice.login().await, alice.login().await);
    let mut connection = connect(&server).await;
    connection.execute("UPDATE refresh_tokens SET idle_expires_at = now() - interval '25 hours'").await.expect("idle");
    // A refresh by a replica whose clock is far behind.
    let mut refresh = connect(&server).await;
    refresh.execute("BEGIN").await.expect("begun");
    change(&mut refresh, &refreshed, "generation = 2, idle_expires_at = now() + interval '1 day'").await;
    sweep(&server).await;
    assert!(!stored(&mut connection).await.contains(&ended.session_id));
    refresh.execute("COMMIT").await.expect("committed");
    sweep(&server).await;
    assert_eq!(stored(&mut connection).await, HashSet::from([refreshed.session_id]));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_are_deleted_page_by_page_by_one_replica_at_a_time() {
    let server = TestServer::start().await;
    let replica = server.replica().await;
    let alice = server.user("alice").await;
    let alive = alice.login().await;
    let mut connection = connect(&server).await;
    let many = "INSERT INTO refresh_tokens SELECT gen_random_uuid(), user_id, epoch, 1, 0, rotated_at, created_at, \
         now() - interval '25 hours', idle_expires_at, NULL, NULL, client_id, audience, '', '', '' \
         FROM refresh_tokens, generate_series(1, 2500)";
    connection.execute(many).await.expect("inserted");
    let mut busy = connect(&server).await;
    busy.execute("BEGIN; SELECT FROM session_sweep FOR UPDATE").await.expect("as another replica does");
    let step = server.auth.sessions.delete_ended().await.expect("not its turn");
    assert_eq!(step, Step::Taken);
    assert_eq!(stored(&mut connection).await.len(), 2501);
    busy.execute("COMMIT").await.expect("committed");
    tokio::join!(sweep(&server), sweep(&replica));
    assert_eq!(stored(&mut connection).await, HashSet::from([alive.session_id]));
}

/// As after a restore of some tables alone.
#[tokio::test]
async fn the_deletion_goes_on_when_its_place_is_lost() {
    let server = TestServer::start().await;
    server.user("alice").await.login().await;
    let mut connection = connect(&server).await;
    let lost = "UPDATE refresh_tokens SET idle_expires_at = now() - interval '25 hours'; DELETE FROM session_sweep";
    connection.execute(lost).await.expect("lost");
    sweep(&server).await;
    assert_eq!(stored(&mut connection).await, HashSet::new());
}

/// A refresh that had to write to an index would make the table and its indexes grow.
#[tokio::test]
async fn a_refresh_changes_nothing_that_is_indexed() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut tokens = alice.login().await;
    for _ in 0..3 {
        tokens = alice.rotate(&tokens.refresh_token).await;
    }
    let mut connection = connect(&server).await;
    let mut updates = async || -> (i64, i64) {
        let statistics = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'refresh_tokens'";
        sqlx::query_as(statistics).fetch_one(&mut connection).await.expect("counted")
    };
    let reported = async { while updates().await.0 < 3 {} };
    tokio::time::timeout(Duration::from_secs(60), reported).await.expect("in time");
    assert_eq!(updates().await, (3, 3));
}
