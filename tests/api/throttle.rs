//! Guessing: how many wrong passwords are looked at, and whom that holds up.

use std::time::Duration;

use countersign::{
    domain::policy::PepperMode,
    domain::{password::Password, throttle::Budget},
    grpc::v1::{ClientInfo, LoginRequest, LoginResponse, SetPasswordRequest, revoke_request::Target},
    store::login_throttle::{self, Attempt, KeyedBudget},
};
use countersign_token::clock::Clock;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{PASSWORD, Setup, TestServer, administering, refusal, so_many_wait};

const FREE: u32 = 10;

fn request(name: &str, password: &str) -> LoginRequest {
    LoginRequest { username: name.into(), password: password.into(), ..Default::default() }
}

fn from(ip: &str, name: &str, password: &str) -> LoginRequest {
    LoginRequest { client: Some(ClientInfo { ip: ip.into(), ..Default::default() }), ..request(name, password) }
}

/// Where nobody gives up although everything is slow.
async fn patient() -> TestServer {
    let mut setup = Setup::new().await;
    setup.settings.throttling.login_deadline = Duration::from_secs(60);
    setup.start().await
}

async fn login(server: &TestServer, request: LoginRequest) -> Result<LoginResponse, Status> {
    server.auth_client().login(request).await.map(tonic::Response::into_inner)
}

/// How the login is refused, and when the next may be tried.
async fn refused(server: &TestServer, request: LoginRequest) -> (Code, String, Option<Duration>) {
    let status = login(server, request).await.expect_err("refused");
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let (code, reason) = refusal::<()>(Err(status));
    (code, reason, retry)
}

/// A server and an account of which so many wrong passwords were tried one after another.
async fn guessed(server: &TestServer, name: &str, times: u32) {
    for _ in 0..times {
        assert_eq!(refused(server, request(name, "wrong")).await.1, "INVALID_CREDENTIALS");
    }
}

fn throttled(seconds: u64) -> (Code, String, Option<Duration>) {
    (Code::ResourceExhausted, "LOGIN_THROTTLED".to_owned(), Some(Duration::from_secs(seconds)))
}

#[tokio::test]
async fn r55_the_delay_grows_and_a_right_password_is_not_looked_at_before_it_is_over() {
    let server = TestServer::start().await;
    server.user("alice").await;
    guessed(&server, "alice", FREE).await;
    for seconds in [1, 2, 4] {
        let hashes = server.auth.passwords.hasher().hashes();
        for password in ["wrong", PASSWORD] {
            assert_eq!(refused(&server, request("alice", password)).await, throttled(seconds));
        }
        assert_eq!(server.auth.passwords.hasher().hashes(), hashes, "nothing was hashed");
        server.advance(Duration::from_secs(seconds)).await;
        guessed(&server, "alice", 1).await;
    }
    server.advance(Duration::from_secs(8)).await;
    login(&server, request("alice", PASSWORD)).await.expect("its owner");
    server.advance(Duration::from_secs(24 * 3600)).await;
    guessed(&server, "alice", FREE).await;
}

/// What a stranger is told who guesses at a name, while its owner, if there is one, logs in meanwhile.
async fn told_to_strangers(
    server: &TestServer,
    name: &str,
    owner: Option<LoginRequest>,
) -> Vec<(Code, String, Option<Duration>)> {
    let stranger = || from("203.0.113.9", name, "wrong");
    let owner_logs_in = async || {
        if let Some(owner) = &owner {
            login(server, owner.clone()).await.expect("its owner");
        }
    };
    let mut told = Vec::new();
    for _ in 0..FREE - 1 {
        told.push(refused(server, stranger()).await);
    }
    owner_logs_in().await;
    // The last free one, and one that has to wait.
    for _ in 0..2 {
        told.push(refused(server, stranger()).await);
    }
    for seconds in [1, 2] {
        server.advance(Duration::from_secs(seconds)).await;
        owner_logs_in().await;
        for _ in 0..2 {
            told.push(refused(server, stranger()).await);
        }
    }
    server.advance(Duration::from_secs(24 * 3600 - 10)).await;
    owner_logs_in().await;
    told.push(refused(server, stranger()).await);
    server.advance(Duration::from_secs(10)).await;
    for _ in 0..=FREE {
        told.push(refused(server, stranger()).await);
    }
    told
}

#[tokio::test]
async fn p6_nobody_else_can_see_that_an_owner_has_logged_in() {
    let server = TestServer::start().await;
    let expected = told_to_strangers(&server, "nobody", None).await;
    assert_eq!(expected[usize::try_from(FREE).expect("small")], throttled(1));
    for (name, address) in [("alice", ""), ("bob", "192.0.2.7")] {
        server.user(name).await;
        server.advance(Duration::from_secs(25 * 3600)).await;
        let owner = from(address, name, PASSWORD);
        assert_eq!(told_to_strangers(&server, name, Some(owner)).await, expected, "{name}");
    }
    server.user("carol").await;
    let hint = login(&server, from("192.0.2.7", "carol", PASSWORD)).await.expect("logged in").device_hint;
    server.advance(Duration::from_secs(25 * 3600)).await;
    let owner = LoginRequest { device_hint: hint, ..from("192.0.2.7", "carol", PASSWORD) };
    assert_eq!(told_to_strangers(&server, "carol", Some(owner)).await, expected, "a known device");
}

#[tokio::test]
async fn r55_a_right_password_forgets_what_its_own_address_got_wrong_and_nothing_else() {
    let server = TestServer::start().await;
    server.user("alice").await;
    let guess = async |ip: &str, times: u32| {
        for _ in 0..times {
            assert_eq!(refused(&server, from(ip, "alice", "wrong")).await.1, "INVALID_CREDENTIALS", "{ip}");
        }
    };
    guess("203.0.113.9", 4).await;
    for _ in 0..3 {
        guess("192.0.2.7", FREE - 5).await;
        login(&server, from("192.0.2.7", "alice", PASSWORD)).await.expect("its owner");
    }
    guess("203.0.113.9", FREE - 4).await;
    assert_eq!(refused(&server, from("192.0.2.7", "alice", PASSWORD)).await, throttled(1));
}

#[tokio::test]
async fn r55_an_own_account_does_not_free_an_address_that_guesses_at_others() {
    let mut setup = Setup::new().await;
    setup.settings.throttling.login_failures_per_source = 5;
    let server = setup.start().await;
    server.user("mallory").await;
    for n in 0..5 {
        let guess = from("192.0.2.7", &format!("user{n}"), "wrong");
        assert_eq!(refused(&server, guess).await.1, "INVALID_CREDENTIALS");
        if n < 4 {
            login(&server, from("192.0.2.7", "mallory", PASSWORD)).await.expect("logged in");
        }
    }
    assert_eq!(refused(&server, from("192.0.2.7", "user9", "wrong")).await, throttled(1));
}

#[tokio::test]
async fn each_limit_of_guesses_is_turned_off_alone() {
    for (per_account, per_source) in [(0, 3), (3, 0), (0, 0)] {
        let mut setup = Setup::new().await;
        setup.settings.throttling.login_failures = per_account;
        setup.settings.throttling.login_failures_per_source = per_source;
        let server = setup.start().await;
        server.user("alice").await;
        let refusals = |by_name: bool| {
            let server = &server;
            async move {
                let mut answers = Vec::new();
                for n in 0..4 {
                    let (ip, name) = if by_name {
                        (format!("192.0.2.{n}"), "alice".to_owned())
                    } else {
                        ("192.0.2.9".to_owned(), format!("user{n}"))
                    };
                    answers.push(refused(server, from(&ip, &name, "wrong")).await.1);
                }
                answers.pop()
            }
        };
        let said = |limit: u32| Some(if limit > 0 { "LOGIN_THROTTLED" } else { "INVALID_CREDENTIALS" }.to_owned());
        assert_eq!(refusals(true).await, said(per_account), "by name: {per_account} {per_source}");
        assert_eq!(refusals(false).await, said(per_source), "by address: {per_account} {per_source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r57_a_thousand_guesses_at_once_on_two_replicas_are_no_more_than_the_limit() {
    let servers = [patient().await];
    let [server] = &servers;
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.settings.throttling.login_deadline = Duration::from_secs(60);
    let other = setup.start().await;
    server.user("alice").await;
    let before = server.auth.passwords.hasher().hashes() + other.auth.passwords.hasher().hashes();
    let guesses: Vec<_> = (0..1000)
        .map(|n| {
            // Other forms of the same name.
            let name = ["alice", "ALICE", "\u{ff41}lice", "Alice"][n % 4];
            let mut client = [server, &other][n % 2].auth_client();
            tokio::spawn(async move { client.login(request(name, "wrong")).await.map(drop) })
        })
        .collect();
    let mut wrong = 0;
    for guess in guesses {
        match refusal(guess.await.expect("joined")).1.as_str() {
            "INVALID_CREDENTIALS" => wrong += 1,
            reason => assert_eq!(reason, "LOGIN_THROTTLED"),
        }
    }
    let hashed = server.auth.passwords.hasher().hashes() + other.auth.passwords.hasher().hashes() - before;
    assert_eq!((wrong, hashed), (FREE, u64::from(FREE)));
}

#[tokio::test]
async fn p6_r58_names_that_do_not_exist_or_are_disabled_are_throttled_alike() {
    throttled_alike(PepperMode::Off).await;
}

#[tokio::test]
async fn p6_r58_with_a_pepper_they_are_throttled_alike_too() {
    throttled_alike(PepperMode::On).await;
}

async fn throttled_alike(pepper: PepperMode) {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = pepper;
    let server = setup.start().await;
    let gone = server.user("gone").await;
    server.user("alice").await;
    let disable = countersign::grpc::v1::UpdateUserRequest {
        user_id: gone.id.clone(),
        disabled: Some(true),
        ..Default::default()
    };
    server.user_client().update_user(administering(disable)).await.expect("disabled");
    server.auth.sample_hashes().await.expect("sampled");
    let mut seen = Vec::new();
    for (name, password) in [("alice", "wrong"), ("nobody", "wrong"), ("gone", "wrong"), ("gone", PASSWORD)] {
        server.advance(Duration::from_secs(25 * 3600)).await;
        let before = server.auth.passwords.hasher().hashes();
        let mut answers = Vec::new();
        for _ in 0..FREE + 2 {
            answers.push(refused(&server, request(name, password)).await);
        }
        seen.push((answers, server.auth.passwords.hasher().hashes() - before));
    }
    for other in &seen[1..] {
        assert_eq!(other, &seen[0], "status, message, delay and work");
    }
    assert_eq!(seen[0].1, u64::from(FREE));
}

#[tokio::test]
async fn r55_who_hammers_a_name_does_not_lock_out_a_device_that_has_logged_in_before() {
    let server = TestServer::start().await;
    server.user("alice").await;
    server.user("mallory").await;
    let hint = login(&server, request("alice", PASSWORD)).await.expect("logged in").device_hint;
    let other = login(&server, request("mallory", PASSWORD)).await.expect("logged in").device_hint;
    guessed(&server, "alice", FREE).await;
    let with = |hint: &str, password: &str| LoginRequest { device_hint: hint.into(), ..request("alice", password) };
    for bad in ["", "csd_garbage", &other] {
        assert_eq!(refused(&server, with(bad, PASSWORD)).await, throttled(1), "{bad}");
    }
    let again = login(&server, with(&hint, PASSWORD)).await.expect("its owner");
    assert_eq!(again.device_hint.len(), hint.len());
    // Its budget is as large as any.
    for _ in 0..FREE {
        assert_eq!(refused(&server, with(&again.device_hint, "wrong")).await.1, "INVALID_CREDENTIALS");
    }
    assert_eq!(refused(&server, with(&hint, PASSWORD)).await, throttled(1), "the same device");
}

#[tokio::test]
async fn r55_an_address_is_throttled_whatever_the_names_and_others_are_not() {
    let mut setup = Setup::new().await;
    setup.settings.throttling.login_failures_per_source = 5;
    let server = setup.start().await;
    server.user("alice").await;
    for n in 0..5 {
        // Right passwords are not counted.
        login(&server, from("192.0.2.7", "alice", PASSWORD)).await.expect("logged in");
        let guess = from("192.0.2.7", &format!("user{n}"), "wrong");
        assert_eq!(refused(&server, guess).await.1, "INVALID_CREDENTIALS");
    }
    assert_eq!(refused(&server, from("::ffff:192.0.2.7", "alice", PASSWORD)).await, throttled(1));
    login(&server, from("192.0.2.8", "alice", PASSWORD)).await.expect("another address");
    login(&server, request("alice", PASSWORD)).await.expect("an unknown address");
    server.advance(Duration::from_secs(3601)).await;
    for n in 0..4 {
        let guess = from("192.0.2.7", &format!("other{n}"), "wrong");
        assert_eq!(refused(&server, guess).await.1, "INVALID_CREDENTIALS", "an hour later");
    }
}

#[tokio::test]
async fn a_new_password_forgets_the_guesses_at_the_old_one() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    guessed(&server, "alice", FREE).await;
    let set = SetPasswordRequest { user_id: alice.id, password: "another horse battery staple".into() };
    server.user_client().set_password(administering(set)).await.expect("set");
    login(&server, request("alice", "another horse battery staple")).await.expect("logged in");
}

#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_side_by_side_are_no_guesses() {
    let server = patient().await;
    let alice = server.user("alice").await;
    let logins: Vec<_> = (0..40)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.login_with(PASSWORD).await })
        })
        .collect();
    for login in logins {
        login.await.expect("joined").expect("logged in");
    }
}

/// By clocks as they are, which no two attempts read at the same moment, and from one address.
#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_of_many_from_one_address_are_no_guesses() {
    let mut setup = Setup::on(crate::support::database().await, Clock::system());
    setup.settings.throttling.login_deadline = Duration::from_secs(60);
    let server = setup.start().await;
    let mut users = Vec::new();
    for n in 0..8 {
        users.push(server.user(&format!("user{n}")).await);
    }
    let logins: Vec<_> = (0..64)
        .map(|n| {
            let client = Some(ClientInfo { ip: "192.0.2.7".into(), ..Default::default() });
            let request = LoginRequest { client, ..request(&users[n % 8].name, PASSWORD) };
            let mut client = server.auth_client();
            tokio::spawn(async move { client.login(request).await.map(drop) })
        })
        .collect();
    for login in logins {
        login.await.expect("joined").expect("logged in");
    }
}

/// However many logins wait for the database.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_flood_of_logins_leaves_connections_for_refresh_and_revoke() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let mut blocker = PgConnection::connect(&server.database_url).await.expect("connect");
    blocker.execute("BEGIN; LOCK TABLE login_throttle").await.expect("locked");
    let flood: Vec<_> = (0..40)
        .map(|n| {
            let mut client = server.auth_client();
            tokio::spawn(async move { client.login(request(&format!("nobody{n}"), "wrong")).await.map(drop) })
        })
        .collect();
    so_many_wait(&server.database_url, 8).await;
    let rotated = alice.rotate(&tokens.refresh_token).await;
    alice.revoke(Target::SessionId(rotated.session_id)).await.expect("revoked");
    blocker.execute("ROLLBACK").await.expect("released");
    for login in flood {
        let reason = refusal(login.await.expect("joined")).1;
        assert!(["INVALID_CREDENTIALS", "OVERLOADED"].contains(&reason.as_str()), "{reason}");
    }
}

/// Below the permits of a process: as many attempts side by side as there are connections, of two budgets each.
#[tokio::test(flavor = "multi_thread")]
async fn r57_attempts_side_by_side_are_counted_one_by_one() {
    let server = TestServer::start().await;
    let (name, source) = (Budget::of_account(10), Budget::of_source(1000));
    for (name_key, source_key) in [([1; 32], [2; 32]), ([4; 32], [3; 32])] {
        let budgets =
            vec![KeyedBudget { key: name_key, budget: name }, KeyedBudget { key: source_key, budget: source }];
        let attempt = Attempt { budgets, own: None, at: server.clock.now() };
        let attempts: Vec<_> = (0..400)
            .map(|_| {
                let (store, clock) = (server.auth.base.store.clone(), server.clock.clone());
                let mut attempt = attempt.clone();
                tokio::spawn(async move {
                    let mut conn = store.acquire().await.expect("connected");
                    // Each reads another moment, and no wait is over as long as this test lasts.
                    clock.advance(Duration::from_micros(1));
                    attempt.at = clock.now();
                    login_throttle::record(&mut conn, &attempt).await.expect("asked").is_none()
                })
            })
            .collect();
        let mut made = 0;
        for attempt in attempts {
            made += u32::from(attempt.await.expect("joined"));
        }
        assert_eq!(made, FREE);
        // What was counted against the one and refused by the other was given back; right passwords next to all that do not
        // get in each other's way.
        let rest: Vec<_> = (0..u64::from(FREE))
            .map(|_| {
                let (store, attempt) = (server.auth.base.store.clone(), attempt.clone());
                tokio::spawn(async move {
                    login_throttle::undo(&mut store.acquire().await.expect("connected"), &attempt).await
                })
            })
            .collect();
        for undone in rest {
            undone.await.expect("joined").expect("no deadlock");
        }
    }
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM login_throttle").fetch_one(&mut connection).await.expect("counted");
    assert_eq!(left, 0);
}

/// Whichever of the two budgets is locked first.
#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_beside_attempts_are_reset_without_a_deadlock() {
    let server = Setup::on(crate::support::database().await, Clock::system()).start().await;
    let (name, source) = (Budget::of_account(10), Budget::of_source(1000));
    for (name_key, source_key) in [([1; 32], [2; 32]), ([4; 32], [3; 32])] {
        let budgets =
            vec![KeyedBudget { key: name_key, budget: name }, KeyedBudget { key: source_key, budget: source }];
        let attempt = Attempt { budgets, own: None, at: server.clock.now() };
        let attempts: Vec<_> = (0..400)
            .map(|_| {
                let (store, clock) = (server.auth.base.store.clone(), server.clock.clone());
                let mut attempt = attempt.clone();
                tokio::spawn(async move {
                    let mut conn = store.acquire().await.expect("connected");
                    attempt.at = clock.now();
                    let wait = login_throttle::record(&mut conn, &attempt).await.expect("no deadlock");
                    if wait.is_none() {
                        login_throttle::reset(&mut conn, &attempt).await.expect("no deadlock");
                    }
                })
            })
            .collect();
        for attempt in attempts {
            attempt.await.expect("joined");
        }
    }
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM login_throttle").fetch_one(&mut connection).await.expect("counted");
    assert_eq!(left, 0, "nothing is held against anybody");
}

/// Who knew a password of before has no budget of its own for the one of today.
#[tokio::test]
async fn r55_a_device_hint_of_before_a_new_password_is_none() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let hint = login(&server, request("alice", PASSWORD)).await.expect("logged in").device_hint;
    server.advance(Duration::from_secs(2)).await;
    let set = SetPasswordRequest { user_id: alice.id, password: "another horse battery staple".into() };
    server.user_client().set_password(administering(set)).await.expect("set");
    guessed(&server, "alice", FREE).await;
    let with = LoginRequest { device_hint: hint, ..request("alice", PASSWORD) };
    assert_eq!(refused(&server, with).await, throttled(1));
}

#[tokio::test]
async fn r55_who_hammers_a_name_does_not_keep_a_known_device_from_changing_the_password() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let hint = login(&server, request("alice", PASSWORD)).await.expect("logged in").device_hint;
    guessed(&server, "alice", FREE).await;
    let mut change = alice.change_password("another horse battery staple", "");
    let stranger = server.user_client().change_password(administering(change.clone())).await;
    assert_eq!(refusal(stranger).1, "LOGIN_THROTTLED");
    change.device_hint = hint;
    server.user_client().change_password(administering(change)).await.expect("changed");
}

/// What the statement counts is what the rule says.
#[tokio::test]
async fn the_statement_and_the_rule_agree() {
    let server = TestServer::start().await;
    let mut conn = server.auth.base.store.acquire().await.expect("connected");
    for (place, budget) in [(1, Budget::of_account(1)), (2, Budget::of_account(10)), (3, Budget::of_source(3))] {
        let budgets = vec![KeyedBudget { key: [place; 32], budget }];
        let first = server.clock.now();
        let mut attempt = Attempt { budgets, own: None, at: first };
        for number in 1..=101 {
            let recorded = login_throttle::record(&mut conn, &attempt).await.expect("counted");
            assert_eq!(recorded, None, "{budget:?} {number}");
            let wait = budget.wait_after(number, (attempt.at - first).unsigned_abs());
            if !wait.is_zero() {
                let early = login_throttle::record(&mut conn, &attempt).await.expect("asked");
                assert_eq!(early, Some(wait), "{budget:?} {number}");
            }
            attempt.at += wait;
            if number == 100 && budget.max_attempts == 100 {
                assert_eq!(attempt.at - first, Duration::from_secs(24 * 3600), "none more within a day of the first");
                assert_eq!(login_throttle::record(&mut conn, &attempt).await.expect("counted"), None);
                let again = login_throttle::record(&mut conn, &attempt).await.expect("asked");
                let anew = budget.wait_after(1, Duration::ZERO);
                assert_eq!(again, Some(anew).filter(|wait| !wait.is_zero()), "it begins anew");
                break;
            }
            if place == 3 && wait == Duration::from_secs(60) {
                break;
            }
        }
    }
}

#[tokio::test]
async fn old_budgets_are_deleted() {
    let server = TestServer::start().await;
    guessed(&server, "nobody", 1).await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let count = "SELECT count(*) FROM login_throttle";
    for (hours, expected) in [(24, 1_i64), (2, 0)] {
        server.advance(Duration::from_secs(hours * 3600)).await;
        server.auth.passwords.clean_throttle().await.expect("cleaned");
        let left: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("counted");
        assert_eq!(left, expected, "after {hours} more hours");
    }
}

/// REQUIREMENTS R50.
#[tokio::test]
async fn a_hash_below_the_policy_is_replaced_at_the_next_login() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.settings.passwords.hash_iterations = 3;
    let stricter = setup.start().await;
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let first = alice.at(&stricter).login().await;
    let stored = "SELECT count(*) FROM users WHERE password_hash LIKE '$argon2id$v=19$m=19456,t=3,p=1$%'";
    let replaced =
        async { while sqlx::query_scalar::<_, i64>(stored).fetch_one(&mut connection).await.expect("counted") == 0 {} };
    tokio::time::timeout(Duration::from_secs(60), replaced).await.expect("in time");
    alice.login().await;
    alice.verify(&first.access_token).await.expect("no session has ended");
}

/// Who gives up learns nothing, and is not held to have guessed.
#[tokio::test(flavor = "multi_thread")]
async fn p2_an_attempt_whose_caller_has_gone_before_it_was_looked_at_is_taken_back() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.hash_threads = 1;
    setup.settings.throttling.login_deadline = Duration::from_secs(60);
    let server = setup.start().await;
    let alice = server.user("alice").await;
    // The only hashing thread has other work for a while.
    let hasher = server.auth.passwords.hasher();
    let password = Password::parse("password", PASSWORD).expect("valid");
    let busy: Vec<_> = (0..50)
        .map(|_| {
            let (hasher, password) = (std::sync::Arc::clone(hasher), password.clone());
            tokio::spawn(async move { hasher.hash(password, None).await.map(drop) })
        })
        .collect();
    let impatient: Vec<_> = (0..2)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.login_with(PASSWORD).await.map(drop) })
        })
        .collect();
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let mut until = async |expected: i64| {
        let count = "SELECT COALESCE(sum(attempts), 0)::bigint FROM login_throttle";
        let counted = async {
            while sqlx::query_scalar::<_, i64>(count).fetch_one(&mut connection).await.expect("counted") != expected {}
        };
        tokio::time::timeout(Duration::from_secs(60), counted).await.expect("in time");
    };
    until(2).await;
    for login in impatient {
        login.abort();
    }
    until(0).await;
    for hash in busy {
        hash.abort();
    }
    alice.login().await;
}
