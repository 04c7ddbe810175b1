//! Login.

use countersign::{
    crypto::phc,
    domain::policy::PepperMode,
    domain::user::Username,
    grpc::v1::{LoginRequest, UpdateUserRequest, VerifyRequest},
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{PASSWORD, Setup, TestServer, live_sessions, refusal, violations};

fn request(username: &str, password: &str) -> LoginRequest {
    LoginRequest { username: username.to_owned(), password: password.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_login_gives_tokens_that_verify() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let principal = alice.verify(&tokens.access_token).await.expect("valid");
    assert_eq!(principal.user_id, alice.id);
    assert_eq!(principal.session_id, tokens.session_id);
    assert_eq!(principal.roles, ["reader"]);
    assert_eq!(principal.audience, ["internal"]);
    assert_eq!(principal.username, "");
    let seconds = tokens.access_token_expires_at.expect("end").seconds - principal.issued_at.expect("start").seconds;
    assert!((569..=600).contains(&seconds), "10 minutes less up to 5%: {seconds}");
    assert!(tokens.refresh_token.starts_with("csr_"));
}

#[tokio::test]
async fn p6_unknown_user_wrong_password_and_disabled_user_look_and_cost_the_same() {
    look_and_cost_the_same(PepperMode::Off).await;
}

#[tokio::test]
async fn p6_with_a_pepper_they_look_and_cost_the_same_too() {
    look_and_cost_the_same(PepperMode::On).await;
}

async fn look_and_cost_the_same(pepper: PepperMode) {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = pepper;
    let server = setup.start().await;
    let disabled = server.user("disabled").await;
    server.user("alice").await;
    let update = UpdateUserRequest { user_id: disabled.id, disabled: Some(true), ..Default::default() };
    server.user_client().update_user(update).await.expect("disabled");
    server.auth.sample_hashes().await.expect("sampled");
    let decoy = server.auth.passwords.decoy_of(&Username::parse("nobody").expect("a name")).expect("a kind");
    assert_eq!(phc::is_peppered(&decoy), pepper.is_on(), "of the kind that the users have");
    let mut answers = Vec::new();
    for (name, password) in [("nobody", PASSWORD), ("alice", "wrong"), ("disabled", PASSWORD), ("disabled", "wrong")] {
        let before = server.auth.passwords.hasher().hashes();
        let status = server.auth_client().login(request(name, password)).await.expect_err("refused");
        let cost = server.auth.passwords.hasher().hashes() - before;
        answers.push((status.code(), status.message().to_owned(), status.details().to_vec(), cost));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!((answers[0].0, answers[0].3), (Code::Unauthenticated, 1));
    let again = server.auth_client().login(request("nobody", "x")).await;
    assert_eq!(refusal(again).1, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn r57_a_name_is_found_in_any_case_and_unicode_form() {
    let server = TestServer::start().await;
    server.user("Zoë").await;
    for name in ["zoë", "ZOË", "zoe\u{308}", " Ｚoë "] {
        server.auth_client().login(request(name, PASSWORD)).await.expect(name);
    }
}

#[tokio::test]
async fn bad_input_is_named_and_opens_no_session() {
    let server = TestServer::start().await;
    server.user("alice").await;
    let huge = "x".repeat(30_000);
    for (name, password, field) in [
        ("", PASSWORD, "username"),
        ("al\0ice", PASSWORD, "username"),
        ("al\u{7}ice", PASSWORD, "username"),
        (&huge, PASSWORD, "username"),
        ("alice", "", "password"),
        ("alice", "nul\0", "password"),
        ("alice", &huge, "password"),
    ] {
        let answer = server.auth_client().login(request(name, password)).await;
        assert_eq!(violations(answer), [field]);
    }
    for ip in ["unknown", "192.0.2.7, 192.0.2.8", &huge] {
        let mut nowhere = request("alice", PASSWORD);
        nowhere.client.get_or_insert_default().ip = ip.to_owned();
        assert_eq!(violations(server.auth_client().login(nowhere).await), ["client.ip"]);
    }
    assert_eq!(server.auth.passwords.hasher().hashes(), 1, "nothing but the creation was hashed");
    assert_eq!(live_sessions(&server).await, 0);
    let mut long_agent = request("alice", PASSWORD);
    long_agent.client.get_or_insert_default().user_agent = huge.clone();
    server.auth_client().login(long_agent).await.expect("a browser's header is no reason to refuse a right password");
}

#[tokio::test]
async fn a_login_may_ask_for_some_of_the_audiences() {
    let mut setup = Setup::new().await;
    setup.settings.tokens.audience = vec!["billing".into(), "orders".into()];
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let mut login = request("alice", PASSWORD);
    login.audience = vec!["billing".into()];
    let answer = server.auth_client().login(login.clone()).await.expect("logged in");
    let tokens = answer.into_inner().tokens.expect("tokens");
    let tokens = alice.rotate(&tokens.refresh_token).await;
    for (audience, accepted) in [("billing", true), ("orders", false)] {
        let verify =
            VerifyRequest { access_token: tokens.access_token.clone(), audience: audience.into(), max_staleness: None };
        assert_eq!(server.auth_client().verify(verify).await.is_ok(), accepted, "{audience}");
    }
    login.audience = vec!["billing".into(), "payroll".into()];
    assert_eq!(violations(server.auth_client().login(login).await), ["audience"]);
}

#[tokio::test]
async fn p5_more_passwords_than_can_wait_are_refused_with_a_time_to_retry() {
    let mut setup = Setup::new().await;
    (setup.settings.passwords.hash_threads, setup.settings.passwords.hash_queue) = (1, 1);
    // Attempts for one name would wait for each other elsewhere.
    setup.settings.throttling.login_failures = 0;
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let logins = (0..40).map(|_| {
        let alice = alice.clone();
        tokio::spawn(async move { alice.login_with(PASSWORD).await })
    });
    let (mut accepted, mut shed) = (0, 0);
    for login in logins.collect::<Vec<_>>() {
        match login.await.expect("joined") {
            Ok(_) => accepted += 1,
            Err(status) => {
                let retry = status.get_details_retry_info().expect("RetryInfo");
                assert!(retry.retry_delay.is_some_and(|delay| !delay.is_zero()));
                let overloaded = (Code::ResourceExhausted, "OVERLOADED".to_owned());
                assert_eq!(refusal::<()>(Err(status)), overloaded);
                shed += 1;
            }
        }
    }
    assert!(accepted >= 1 && shed >= 1, "{accepted} accepted, {shed} shed");
    assert_eq!(live_sessions(&server).await, accepted);
}

#[tokio::test]
async fn r43_no_session_opened_with_the_old_password_survives_its_change() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut logins = Vec::new();
    for _ in 0..8 {
        let alice = alice.clone();
        logins.push(tokio::spawn(async move { alice.login_with(PASSWORD).await }));
    }
    let change = alice.change_password("another horse battery staple", "");
    server.user_client().change_password(change).await.expect("changed");
    for login in logins {
        if let Ok(tokens) = login.await.expect("joined") {
            let verified = alice.verify(&tokens.access_token).await;
            assert_eq!(refusal(verified).1, "TOKEN_REVOKED");
            let refreshed = alice.refresh(&tokens.refresh_token).await;
            assert_eq!(refusal(refreshed).1, "REFRESH_TOKEN_INVALID");
        }
    }
    assert_eq!(live_sessions(&server).await, 0);
}

/// On one thread, where hashing among the async tasks would hold Verify up.
#[tokio::test(flavor = "current_thread")]
async fn p5_verify_answers_while_every_hashing_thread_is_busy() {
    const FLOOD: u64 = 100;
    let mut setup = Setup::new().await;
    setup.settings.passwords.hash_threads = 1;
    setup.settings.throttling.login_failures = 0;
    setup.settings.throttling.login_deadline = std::time::Duration::from_secs(60);
    let server = setup.start().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let before = server.auth.passwords.hasher().hashes();
    let guesses: Vec<_> = (0..FLOOD)
        .map(|_| {
            let alice = alice.clone();
            tokio::spawn(async move { alice.login_with("wrong").await })
        })
        .collect();
    alice.verify(&tokens.access_token).await.expect("valid");
    assert!(server.auth.passwords.hasher().hashes() - before < FLOOD, "Verify did not wait for the flood");
    for guess in guesses {
        assert_eq!(refusal(guess.await.expect("joined")).1, "INVALID_CREDENTIALS");
    }
}
