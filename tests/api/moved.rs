//! A database that was left behind: an old primary that lives, cut off, with connections that stay, while everybody else has
//! moved on; and rows that were lost. No answer may rest on it (promises P1, P2 and P4).

use std::time::Duration;

use countersign::{
    clock::Clock,
    grpc::v1::{
        CreateUserRequest, DeleteUserRequest, GetUserRequest, RevokeRequest, RevokeResponse, TokenPair,
        UpdateUserRequest, get_user_request, revoke_request::Target,
    },
};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;
use tonic::Status;

use crate::support::{PASSWORD, Pair, Proxy, Replication, Setup, TestServer, User, administering, refusal};

const BOUND: Duration = Duration::from_secs(30);
/// What a connection may outlive its address.
const LIFETIME: Duration = Duration::from_secs(5);

async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    connection.execute(AssertSqlSafe(statement)).await.expect(statement);
}

/// Asks until the answer is no outage. While it is one, it says so.
async fn honest<T: std::fmt::Debug>(mut ask: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let asked = async {
        loop {
            match ask().await {
                Err(status) if status.code() == tonic::Code::Unavailable => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    timeout(Duration::from_secs(60), asked).await.expect("the service recovers")
}

/// Revokes until it is confirmed.
async fn confirmed(user: &User, target: Target) -> RevokeResponse {
    let revoke = async {
        loop {
            let answer = honest(async || user.revoke(target.clone()).await).await.expect("revoked");
            if answer.confirmed {
                return answer;
            }
        }
    };
    timeout(Duration::from_secs(60), revoke).await.expect("it is confirmed")
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_session_whose_row_was_lost_ends_everywhere() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    for by in ["refresh-token", "access-token", "id"] {
        let alice = server.user(&format!("alice-by-{by}")).await;
        let tokens = alice.login().await;
        alice.at(&other).verify(&tokens.access_token).await.expect("valid");
        run(&server.database_url, &format!("DELETE FROM refresh_tokens WHERE session_id = '{}'", tokens.session_id))
            .await;
        let target = match by {
            "refresh-token" => Target::RefreshToken(tokens.refresh_token.clone()),
            "access-token" => Target::AccessToken(tokens.access_token.clone()),
            _ => Target::SessionId(tokens.session_id.clone()),
        };
        let answer = confirmed(&alice, target).await;
        assert_eq!(answer.sessions_revoked, 0, "there is no row to end");
        for replica in [&server, &other, &server.replica().await] {
            let refused = refusal(alice.at(replica).verify(&tokens.access_token).await);
            assert_eq!(refused.1, "TOKEN_REVOKED", "by {by}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_user_whose_row_was_lost_loses_all_sessions_everywhere() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let (alice, bob) = (server.user("alice").await, server.user("bob").await);
    let (tokens, kept, of_bob) = (alice.login().await, alice.login().await, bob.login().await);
    run(&server.database_url, "CREATE TABLE lost AS SELECT * FROM users WHERE username = 'alice'").await;
    run(&server.database_url, "DELETE FROM refresh_tokens WHERE user_id IN (SELECT id FROM lost)").await;
    run(&server.database_url, "DELETE FROM users WHERE username = 'alice'").await;
    let all_but_one = RevokeRequest {
        target: Some(Target::UserId(alice.id.clone())),
        keep_session_id: kept.session_id.clone(),
        ..Default::default()
    };
    let answer = server.auth_client().revoke(administering(all_but_one)).await.expect("revoked").into_inner();
    assert!(answer.confirmed);
    for replica in [&server, &other, &server.replica().await] {
        for tokens in [&tokens, &kept] {
            assert_eq!(refusal(alice.at(replica).verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
        }
        bob.at(replica).verify(&of_bob.access_token).await.expect("nobody else's");
    }
    // The user comes back with the rows, the revocation is put back, and all goes on.
    run(&server.database_url, "INSERT INTO users SELECT * FROM lost; DELETE FROM revocations").await;
    server.catch_up().await;
    let again = alice.login().await;
    server.catch_up().await;
    alice.verify(&again.access_token).await.expect("a session that was opened since");
    let answer = confirmed(&alice, Target::UserId(alice.id.clone())).await;
    assert_eq!(answer.sessions_revoked, 1, "its epoch cannot be raised any more");
    assert_eq!(refusal(alice.verify(&again.access_token).await).1, "TOKEN_REVOKED");
    let disable = UpdateUserRequest { user_id: alice.id.clone(), disabled: Some(true), ..Default::default() };
    server.user_client().update_user(administering(disable)).await.expect("disabled");
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, "INVALID_CREDENTIALS", "R43, whatever its epoch is");
}

#[tokio::test]
async fn p1_what_means_nothing_is_not_called_confirmed() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut forged = tokens.access_token.clone();
    forged.pop();
    for target in [
        Target::RefreshToken("csr_nonsense".to_owned()),
        Target::AccessToken("nonsense".to_owned()),
        Target::AccessToken(forged),
    ] {
        let answer = alice.revoke(target).await.expect("no oracle");
        assert_eq!((answer.sessions_revoked, answer.confirmed, answer.everywhere_by), (0, false, None));
    }
    alice.verify(&tokens.access_token).await.expect("nothing has ended");
    let kid = crate::keys::kid(&tokens.access_token);
    server.auth.keys.kill(&kid).await.expect("killed");
    server.catch_up().await;
    let answer = alice.revoke(Target::AccessToken(tokens.access_token)).await.expect("no oracle");
    assert_eq!((answer.confirmed, answer.everywhere_by), (false, None), "its session lives");
    alice.rotate(&tokens.refresh_token).await;
}

/// A replica whose connections stay at the old primary, and one that was started after the address had moved.
struct Moved {
    pair: Pair,
    proxy: Proxy,
    left: TestServer,
    moved: TestServer,
}

impl Moved {
    /// The standby is promoted and the address moves; the old primary is cut off from it and lives.
    async fn start(replication: Replication, prepare: impl AsyncFnOnce(&TestServer)) -> Self {
        let mut pair = Pair::start(replication).await;
        let proxy = Proxy::before(&pair.primary_url());
        let clock = Clock::manual();
        let left = Setup::on(proxy.url(), clock.clone()).start().await;
        prepare(&left).await;
        // All connections are made, and lead to the primary of now.
        let warm = left.user("warm").await;
        let tokens = warm.login().await;
        warm.rotate(&tokens.refresh_token).await;
        assert!(warm.refresh(&tokens.refresh_token).await.expect("replayed").replayed);
        assert_eq!(refusal(warm.login_with("a wrong horse battery").await).1, "INVALID_CREDENTIALS");
        warm.revoke(Target::SessionId(tokens.session_id)).await.expect("revoked");
        let written = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
        pair.until_primary_says(written, |standbys| standbys == 1).await;
        pair.cut_replication().await;
        pair.promote().await;
        proxy.redirect(&pair.standby_url());
        let moved = Setup::on(pair.standby_url(), clock).start().await;
        Self { pair, proxy, left, moved }
    }

    async fn stop(self) {
        for server in [self.left, self.moved] {
            server.stop().await.expect("stopped");
        }
        drop((self.proxy, self.pair));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_p4_an_old_primary_that_lives_denies_nothing_and_confirms_nothing() {
    let world = Moved::start(Replication::Synchronous, async |_| ()).await;
    let Moved { left, moved, .. } = &world;
    let alice = moved.user("alice").await;
    let opened: Vec<TokenPair> = [alice.login().await, alice.login().await, alice.login().await].into();
    // All at once, on the connections that lead to the old primary, where there is no such user and no such session.
    let here = alice.at(left);
    let (login, refresh, read) = tokio::join!(
        honest(async || here.login_with(PASSWORD).await),
        honest(async || here.refresh(&opened[0].refresh_token).await),
        honest(async || {
            let key = Some(get_user_request::Key::UserId(alice.id.clone()));
            left.user_client().get_user(administering(GetUserRequest { key })).await
        }),
    );
    login.expect("the password is right");
    refresh.expect("the session lives");
    read.expect("there is such a user");
    let sessions = async || left.auth_client().list_sessions(administering(list(&alice))).await;
    assert_eq!(honest(sessions).await.expect("listed").into_inner().sessions.len(), 4);
    honest(async || here.revoke(Target::SessionId(opened[1].session_id.clone())).await).await.expect("revoked");
    moved.catch_up().await;
    assert_eq!(refusal(alice.verify(&opened[1].access_token).await).1, "TOKEN_REVOKED", "it was not for nothing");
    world.stop().await;
}

fn list(user: &User) -> countersign::grpc::v1::ListSessionsRequest {
    countersign::grpc::v1::ListSessionsRequest { user_id: user.id.clone(), ..Default::default() }
}

/// What the standby does not have any more: a password, a name.
#[tokio::test(flavor = "multi_thread")]
async fn p4_an_old_primary_that_lives_knows_no_password_and_no_name() {
    let world = Moved::start(Replication::Synchronous, async |server| {
        server.user("alice").await;
        server.user("bob").await;
    })
    .await;
    let Moved { left, moved, .. } = &world;
    let found = async |name: &str| {
        let key = Some(get_user_request::Key::Username(name.to_owned()));
        let answer = moved.user_client().get_user(administering(GetUserRequest { key })).await.expect("there");
        answer.into_inner().user.expect("a user")
    };
    let (alice, bob) = (found("alice").await, found("bob").await);
    let password = "another horse battery staple".to_owned();
    let set = countersign::grpc::v1::SetPasswordRequest { user_id: alice.user_id, password: password.clone() };
    moved.user_client().set_password(administering(set)).await.expect("set");
    let delete = DeleteUserRequest { user_id: bob.user_id };
    moved.user_client().delete_user(administering(delete)).await.expect("deleted");
    let login = async |password: &str| {
        let request = countersign::grpc::v1::LoginRequest {
            username: "alice".to_owned(),
            password: password.to_owned(),
            ..Default::default()
        };
        left.auth_client().login(request).await
    };
    let create = async || {
        let request =
            CreateUserRequest { username: "bob".to_owned(), password: PASSWORD.to_owned(), roles: Vec::new() };
        left.user_client().create_user(administering(request)).await
    };
    let (right, created) = tokio::join!(honest(async || login(&password).await), honest(create));
    right.expect("the password is right");
    created.expect("the name is free");
    assert_eq!(refusal(honest(async || login(PASSWORD).await).await).1, "INVALID_CREDENTIALS", "the old one is not");
    world.stop().await;
}

/// On the old primary all others look silent after a while; its reader of the list must not confirm by that.
#[tokio::test(flavor = "multi_thread")]
async fn p1_an_observer_that_stays_at_the_old_primary_confirms_nothing() {
    let world = Moved::start(Replication::Synchronous, async |_| ()).await;
    let Moved { left, moved, .. } = &world;
    let alice = moved.user("alice").await;
    let tokens = alice.login().await;
    let frozen_proxy = Proxy::before(&world.pair.standby_url());
    let frozen = Setup::on(frozen_proxy.url(), left.clock.clone()).start().await;
    // Longer than the bound, for all that the old primary can tell.
    for _ in 0..4 {
        left.clock.advance(BOUND / 3);
        moved.catch_up().await;
        frozen.catch_up().await;
    }
    frozen_proxy.freeze();
    let answer = honest(async || {
        let request = RevokeRequest {
            target: Some(Target::SessionId(tokens.session_id.clone())),
            wait: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
            ..Default::default()
        };
        left.auth_client().revoke(request).await
    })
    .await;
    assert!(!answer.expect("revoked").into_inner().confirmed, "one has not heard");
    alice.at(&frozen).verify(&tokens.access_token).await.expect("and accepts, within its bound");
    frozen_proxy.mend();
    frozen.catch_up().await;
    assert_eq!(refusal(alice.at(&frozen).verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
    frozen.stop().await.expect("stopped");
    world.stop().await;
}

/// An old primary that replicates asynchronously goes on committing heartbeats.
#[tokio::test(flavor = "multi_thread")]
async fn p1_heartbeats_that_an_old_primary_commits_keep_nobody_fresh_beyond_everywhere_by() {
    let world = Moved::start(Replication::Asynchronous, async |server| {
        server.user("alice").await.login().await;
    })
    .await;
    let Moved { left, moved, .. } = &world;
    let alice = moved.user("anna").await;
    let tokens = alice.login().await;
    let request = RevokeRequest { target: Some(Target::SessionId(tokens.session_id.clone())), ..Default::default() };
    let answer = moved.auth_client().revoke(request).await.expect("revoked").into_inner();
    let by = answer.everywhere_by.expect("a bound").seconds - left.clock.now().unix_timestamp();
    assert!(by <= (BOUND + LIFETIME).as_secs() as i64 + 1, "{by}");
    // A heartbeat at a time, as they come, on connections that are kept as long as they may be.
    for _ in 0..=by {
        left.clock.advance(Duration::from_secs(1));
        left.catch_up().await;
    }
    let refused = refusal(alice.at(left).verify(&tokens.access_token).await).1;
    assert!(["TOKEN_REVOKED", "REVOCATIONS_STALE"].contains(&refused.as_str()), "{refused}");
    world.stop().await;
}

/// Rule A3: nothing is confirmed in a log that is new until what was fresh before it is stale.
#[tokio::test(flavor = "multi_thread")]
async fn p1_after_a_promotion_nothing_is_confirmed_until_nobody_can_be_fresh_from_before() {
    let world = Moved::start(Replication::Asynchronous, async |_| ()).await;
    let Moved { moved, .. } = &world;
    let alice = moved.user("alice").await;
    let revoke = async || {
        let request = RevokeRequest {
            target: Some(Target::SessionId(alice.login().await.session_id)),
            wait: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
            ..Default::default()
        };
        moved.auth_client().revoke(request).await.expect("revoked").into_inner().confirmed
    };
    assert!(!revoke().await);
    // The other one is on no list that this log has: it was registered in the one before alone.
    run(
        &world.pair.standby_url(),
        &format!("DELETE FROM replicas WHERE id = '{}'", world.left.auth.accounts.log.replica()),
    )
    .await;
    assert!(!revoke().await);
    for _ in 0..=(BOUND + LIFETIME).as_secs() {
        moved.advance(Duration::from_secs(1)).await;
        world.left.catch_up().await;
    }
    confirmed(&alice, Target::SessionId(alice.login().await.session_id)).await;
    let later = Setup::on(world.pair.standby_url(), moved.clock.clone()).start().await;
    let alice = alice.at(&later);
    confirmed(&alice, Target::SessionId(alice.login().await.session_id)).await;
    later.stop().await.expect("stopped");
    world.stop().await;
}

/// Two standbys may be promoted to one timeline: a log has a name of its own.
#[tokio::test(flavor = "multi_thread")]
async fn p1_a_log_on_another_history_of_commits_gets_another_name_and_confirms_nothing_at_first() {
    // A promotion, another cluster, a dump that was restored, a row that was lost.
    for moved in [
        "UPDATE log_identity SET timeline = timeline + 1",
        "UPDATE log_identity SET system_identifier = system_identifier + 1",
        "UPDATE log_identity SET relation = relation + 1",
        "DELETE FROM log_identity",
    ] {
        get_another_name(moved).await;
    }
}

async fn get_another_name(moved: &str) {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let revoke = async || {
        let request = RevokeRequest {
            target: Some(Target::SessionId(alice.login().await.session_id)),
            wait: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
            ..Default::default()
        };
        honest(async || server.auth_client().revoke(request.clone()).await).await.expect("revoked").into_inner()
    };
    assert!(confirmed(&alice, Target::SessionId(alice.login().await.session_id)).await.confirmed);
    let name = async || {
        let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
        let name = sqlx::query_scalar::<_, String>("SELECT id::text FROM log_identity");
        name.fetch_one(&mut connection).await.expect("a name")
    };
    let before = name().await;
    // The other one is on the list of the log before alone.
    let other_row = format!("DELETE FROM replicas WHERE id = '{}'", other.auth.accounts.log.replica());
    run(&server.database_url, &format!("{moved}; {other_row}")).await;
    assert!(!revoke().await.confirmed, "{moved}: before anybody has heard of it");
    for replica in [&server, &other] {
        replica.catch_up().await;
    }
    assert_ne!(name().await, before);
    assert!(!revoke().await.confirmed, "{moved}");
    for _ in 0..=(BOUND + LIFETIME).as_secs() {
        for replica in [&server, &other] {
            replica.catch_up().await;
        }
        server.clock.advance(Duration::from_secs(1));
    }
    confirmed(&alice, Target::SessionId(alice.login().await.session_id)).await;
}

/// What was compared and found wrong counts as a guess, though nobody can be told so.
#[tokio::test(flavor = "multi_thread")]
async fn r57_guesses_count_while_the_database_commits_nothing() {
    let mut setup = Setup::new().await;
    setup.database_deadline = Duration::from_millis(500);
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let mut lock = PgConnection::connect(&server.database_url).await.expect("connect");
    lock.execute("BEGIN; LOCK TABLE proofs IN EXCLUSIVE MODE").await.expect("locked");
    for _ in 0..10 {
        assert_eq!(refusal(alice.login_with("a wrong horse battery").await).1, "DATABASE_UNAVAILABLE");
    }
    lock.execute("COMMIT").await.expect("released");
    assert_eq!(refusal(alice.login_with("a wrong horse battery").await).1, "LOGIN_THROTTLED");
    server.stop().await.expect("stopped");
}

#[tokio::test]
async fn p4_a_table_that_lacks_its_row_logs_nobody_out() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    run(&server.database_url, "DELETE FROM session_floor").await;
    assert_eq!(refusal(alice.refresh(&tokens.refresh_token).await).1, "INTERNAL");
}
