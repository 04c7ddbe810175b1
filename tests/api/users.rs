//! UserService.

use countersign::{
    domain::password::Password,
    grpc::v1::{
        CreateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest, Roles, SetPasswordRequest,
        UpdateUserRequest, get_user_request::Key,
    },
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::Code;

use crate::support::{PASSWORD, TestServer, refusal, somebody_waits, violations};

fn create(username: &str, password: &str) -> CreateUserRequest {
    CreateUserRequest { username: username.into(), password: password.into(), roles: vec![] }
}

fn by_id(id: &str) -> GetUserRequest {
    GetUserRequest { key: Some(Key::UserId(id.into())) }
}

fn by_name(name: &str) -> GetUserRequest {
    GetUserRequest { key: Some(Key::Username(name.into())) }
}

const UNKNOWN: &str = "01900000-0000-7000-8000-000000000000";

#[tokio::test]
async fn r57_a_name_that_differs_in_case_or_unicode_form_only_is_taken() {
    let server = TestServer::start().await;
    server.user("zoë").await;
    for name in ["zoë", "ZOË", "Zoe\u{308}", " zoë "] {
        let answer = refusal(server.user_client().create_user(create(name, PASSWORD)).await);
        assert_eq!(answer, (Code::AlreadyExists, "USERNAME_TAKEN".into()), "{name}");
    }
    server.user_client().create_user(create("zoe", PASSWORD)).await.expect("another name");
}

#[tokio::test]
async fn a_user_is_found_by_id_and_by_name() {
    let server = TestServer::start().await;
    let alice = server.user("Alice").await;
    for request in [by_id(&alice.id), by_name("ALICE")] {
        let user = server.user_client().get_user(request).await.expect("found").into_inner();
        let user = user.user.expect("a user");
        assert_eq!((user.username.as_str(), user.user_id.as_str()), ("alice", alice.id.as_str()));
        assert!(!user.disabled);
    }
    let missing = (Code::NotFound, "USER_NOT_FOUND".to_owned());
    for request in [by_id(UNKNOWN), by_name("nobody")] {
        assert_eq!(refusal(server.user_client().get_user(request).await), missing);
    }
    assert_eq!(violations(server.user_client().get_user(GetUserRequest { key: None }).await), ["key"]);
    assert_eq!(violations(server.user_client().get_user(by_id("x")).await), ["user_id"]);
}

#[tokio::test]
async fn users_are_listed_page_by_page_in_the_order_of_their_creation() {
    let server = TestServer::start().await;
    let mut created = Vec::new();
    for name in ["c", "a", "b"] {
        server.clock.advance(std::time::Duration::from_millis(1));
        created.push(server.user(name).await.id);
    }
    let mut request = ListUsersRequest { page_size: 2, ..Default::default() };
    let first = server.user_client().list_users(request.clone()).await.expect("page").into_inner();
    request.page_token = first.next_page_token;
    let second = server.user_client().list_users(request).await.expect("page").into_inner();
    assert_eq!(second.next_page_token, "");
    let listed: Vec<String> = first.users.into_iter().chain(second.users).map(|user| user.user_id).collect();
    assert_eq!(listed, created);
}

#[tokio::test]
async fn a_disabled_user_cannot_log_in_until_it_is_enabled_again() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let update = async |disabled| {
        let request = UpdateUserRequest { user_id: alice.id.clone(), disabled: Some(disabled), ..Default::default() };
        server.user_client().update_user(request).await.expect("updated").into_inner()
    };
    assert!(update(true).await.user.expect("a user").disabled);
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, "INVALID_CREDENTIALS");
    let enabled = update(false).await.user.expect("a user");
    assert!(!enabled.disabled);
    assert_eq!(enabled.roles, ["reader"], "what was not named stays");
    alice.login().await;
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_its_name_is_free() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    alice.login().await;
    let delete = DeleteUserRequest { user_id: alice.id.clone() };
    let answer = server.user_client().delete_user(delete.clone()).await.expect("deleted");
    assert_eq!(answer.into_inner().sessions_revoked, 1);
    assert_eq!(refusal(server.user_client().delete_user(delete).await).1, "USER_NOT_FOUND");
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, "INVALID_CREDENTIALS");
    let anew = server.user("alice").await;
    assert_ne!(anew.id, alice.id);
}

#[tokio::test]
async fn changing_a_password_needs_the_old_one_and_keeps_one_session() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let (kept, other) = (alice.login().await, alice.login().await);
    let mut wrong = alice.change_password("another horse battery staple", "");
    wrong.old_password = "not the old password".into();
    let answer = refusal(server.user_client().change_password(wrong).await);
    assert_eq!(answer, (Code::Unauthenticated, "INVALID_CREDENTIALS".into()));
    let change = alice.change_password("another horse battery staple", &kept.session_id);
    let answer = server.user_client().change_password(change).await.expect("changed");
    assert_eq!(answer.into_inner().sessions_revoked, 1);
    alice.verify(&kept.access_token).await.expect("kept");
    assert_eq!(refusal(alice.verify(&other.access_token).await).1, "TOKEN_REVOKED");
    assert_eq!(refusal(alice.login_with(PASSWORD).await).1, "INVALID_CREDENTIALS");
    alice.login_with("another horse battery staple").await.expect("logged in");
}

/// A Login next to it has replaced the hash by a stronger one: the password is the same.
#[tokio::test(flavor = "multi_thread")]
async fn changing_a_password_while_its_hash_is_replaced_succeeds() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let password = Password::parse("password", PASSWORD).expect("valid");
    let fresh = server.auth.passwords.hasher().hash(password, None).await.expect("hashed");
    let mut login = PgConnection::connect(&server.database_url).await.expect("connect");
    login.execute("BEGIN").await.expect("begun");
    let replace = sqlx::query("UPDATE users SET password_hash = $1").bind(fresh.as_str());
    login.execute(replace).await.expect("replaced");
    let change = alice.change_password("another horse battery staple", "");
    let mut client = server.user_client();
    let changed = tokio::spawn(async move { client.change_password(change).await });
    somebody_waits(&server.database_url).await;
    login.execute("COMMIT").await.expect("committed");
    changed.await.expect("joined").expect("changed");
    alice.login_with("another horse battery staple").await.expect("logged in");
}

#[tokio::test]
async fn bad_input_is_named_and_changes_nothing() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let huge = "x".repeat(60_000);
    for (name, password, field) in [
        ("", PASSWORD, "username"),
        ("a b", PASSWORD, "username"),
        ("nul\0", PASSWORD, "username"),
        (&huge, PASSWORD, "username"),
        ("bob", "", "password"),
        ("bob", "14 characters.", "password"),
        ("bob", "fifteen with nul\0", "password"),
        ("bob", &huge, "password"),
    ] {
        let answer = server.user_client().create_user(create(name, password)).await;
        assert_eq!(violations(answer), [field]);
    }
    let mut roles = create("bob", PASSWORD);
    roles.roles = vec!["not a role".into()];
    assert_eq!(violations(server.user_client().create_user(roles).await), ["roles"]);
    let update = UpdateUserRequest {
        user_id: alice.id.clone(),
        roles: Some(Roles { names: vec![String::new()] }),
        disabled: Some(true),
        end_sessions: true,
    };
    assert_eq!(violations(server.user_client().update_user(update).await), ["roles"]);
    let weak = SetPasswordRequest { user_id: alice.id.clone(), password: "short".into() };
    assert_eq!(violations(server.user_client().set_password(weak).await), ["password"]);
    assert_eq!(refusal(server.user_client().get_user(by_name("bob")).await).1, "USER_NOT_FOUND");
    alice.login().await;
}

#[tokio::test]
async fn p1_a_role_that_is_taken_away_ends_the_sessions_if_that_is_asked_for() {
    let server = TestServer::start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let roles = |end_sessions| UpdateUserRequest {
        user_id: alice.id.clone(),
        roles: Some(Roles::default()),
        end_sessions,
        ..Default::default()
    };
    let update = async |request| server.user_client().update_user(request).await.expect("updated").into_inner();
    let kept = update(roles(false)).await;
    assert_eq!((kept.sessions_revoked, kept.everywhere_by), (0, None));
    let principal = alice.verify(&tokens.access_token).await.expect("it lives");
    assert_eq!(principal.roles, ["reader"], "until its token expires");
    let ended = update(roles(true)).await;
    assert!(ended.confirmed && ended.sessions_revoked == 1 && ended.everywhere_by.is_some());
    for server in [&server, &other] {
        let refused = alice.at(server).verify(&tokens.access_token).await;
        assert_eq!(refusal(refused).1, "TOKEN_REVOKED");
    }
    let again = alice.login().await;
    assert_eq!(alice.verify(&again.access_token).await.expect("a new session").roles, [""; 0]);
}
