//! Nobody administers by accident.

use std::time::Duration;

use countersign::{
    domain::{password::Password, user::Username},
    edge::{Callers, Defaults},
    grpc::v1::{
        ChangePasswordRequest, CreateUserRequest, DeleteUserRequest, GetUserRequest, ListSessionsRequest,
        ListUsersRequest, RevokeRequest, SetPasswordRequest, UpdateUserRequest, revoke_request::Target,
    },
};
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;
use tonic::{Code, Request, Status};

use crate::support::{PASSWORD, Setup, TestServer, bearer, refusal};

/// Calls everything that is for administrators, in a form that would be refused for another reason otherwise.
async fn call_all(server: &TestServer, token: Option<&str>) -> Vec<(&'static str, Result<(), Status>)> {
    fn with<T>(request: T, token: Option<&str>) -> Request<T> {
        let mut request = Request::new(request);
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().expect("header"));
        }
        request
    }
    let (mut users, mut auth) = (server.user_client(), server.auth_client());
    let by_session = RevokeRequest { target: Some(Target::SessionId(UNKNOWN.into())), ..Default::default() };
    let by_user = RevokeRequest { target: Some(Target::UserId(UNKNOWN.into())), ..Default::default() };
    let sessions = ListSessionsRequest { user_id: UNKNOWN.into(), ..Default::default() };
    vec![
        ("create", users.create_user(with(CreateUserRequest::default(), token)).await.map(drop)),
        ("get", users.get_user(with(GetUserRequest::default(), token)).await.map(drop)),
        ("list", users.list_users(with(ListUsersRequest::default(), token)).await.map(drop)),
        ("update", users.update_user(with(UpdateUserRequest::default(), token)).await.map(drop)),
        ("delete", users.delete_user(with(DeleteUserRequest::default(), token)).await.map(drop)),
        ("set", users.set_password(with(SetPasswordRequest::default(), token)).await.map(drop)),
        ("change", users.change_password(with(ChangePasswordRequest::default(), token)).await.map(drop)),
        ("import", users.import_users(with(tokio_stream::empty(), token)).await.map(drop)),
        ("session", auth.revoke(with(by_session, token)).await.map(drop)),
        ("user", auth.revoke(with(by_user, token)).await.map(drop)),
        ("sessions", auth.list_sessions(with(sessions, token)).await.map(drop)),
    ]
}

const UNKNOWN: &str = "01900000-0000-7000-8000-000000000000";

fn not_allowed(result: &Result<(), Status>) -> bool {
    matches!(result, Err(status) if status.code() == Code::PermissionDenied)
}

#[tokio::test]
async fn administration_needs_the_service_token() {
    let server = Setup::new().await.with_admin_token().start().await;
    let wrong = format!("{}x", bearer());
    for token in [None, Some(""), Some("Bearer "), Some(wrong.as_str())] {
        for (rpc, result) in call_all(&server, token).await {
            let refused = refusal(result);
            assert_eq!(refused, (Code::PermissionDenied, "CALLER_NOT_ALLOWED".into()), "{rpc}");
        }
    }
    for (rpc, result) in call_all(&server, Some(&bearer())).await {
        assert!(!not_allowed(&result), "{rpc}");
    }
}

#[tokio::test]
async fn a_refused_administrator_leaves_an_event_that_is_counted() {
    let server = Setup::new().await.with_admin_token().start().await;
    for _ in 0..3 {
        for (rpc, result) in call_all(&server, None).await {
            assert!(not_allowed(&result), "{rpc}");
        }
    }
    // The server writes them once a second, too.
    server.auth.base.audit.write_last_refusals().await.expect("written");
    let listing = "SELECT detail, actor, client_ip, sum(count)::bigint FROM audit_events \
                   WHERE kind = 'caller_refused' AND caller = '' AND reason = 'no_credential' GROUP BY 1, 2, 3 ORDER BY 1";
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    let written = async {
        loop {
            let rows: Vec<(String, String, String, i64)> =
                sqlx::query_as(listing).fetch_all(&mut connection).await.expect("listed");
            if rows.iter().map(|row| row.3).sum::<i64>() == 33 {
                return rows;
            }
        }
    };
    let written = timeout(Duration::from_secs(60), written).await.expect("they are written");
    let event = |rpc: &str, count| (rpc.to_owned(), "caller".to_owned(), "127.0.0.1".to_owned(), count);
    let expected = [
        event("AuthService/ListSessions", 3),
        event("AuthService/Revoke", 6),
        event("UserService/ChangePassword", 3),
        event("UserService/CreateUser", 3),
        event("UserService/DeleteUser", 3),
        event("UserService/GetUser", 3),
        event("UserService/ImportUsers", 3),
        event("UserService/ListUsers", 3),
        event("UserService/SetPassword", 3),
        event("UserService/UpdateUser", 3),
    ];
    assert_eq!(written, expected);
}

#[tokio::test]
async fn without_a_token_file_nobody_administers() {
    let mut setup = Setup::new().await;
    setup.callers = Callers::new(Defaults::Open, None);
    let server = setup.start().await;
    for (rpc, result) in call_all(&server, Some(&bearer())).await {
        assert!(not_allowed(&result), "{rpc}");
    }
}

#[tokio::test]
async fn whoever_holds_a_token_may_end_its_session_without_administering() {
    let server = Setup::new().await.with_admin_token().start().await;
    let username = Username::parse("alice").expect("name");
    let password = Password::parse("password", PASSWORD).expect("password");
    server.auth.users.create(username, password, vec![]).await.expect("created");
    let login = countersign::grpc::v1::LoginRequest {
        username: "alice".into(),
        password: PASSWORD.into(),
        ..Default::default()
    };
    let answer = server.auth_client().login(login).await.expect("logged in").into_inner();
    let target = Some(Target::RefreshToken(answer.tokens.expect("tokens").refresh_token));
    let request = RevokeRequest { target, ..Default::default() };
    let answer = server.auth_client().revoke(request).await.expect("revoked").into_inner();
    assert_eq!(answer.sessions_revoked, 1);
}
