//! A column's type changes under a running server: prepared statements that the database has made useless are not used for
//! ever.

use countersign::grpc::v1::{GetUserRequest, ListUsersRequest, get_user_request::Key, revoke_request::Target};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::{Code, Status};

use crate::support::{PASSWORD, TestServer, User, administering};

/// One of each call that reads users or sessions.
async fn call_all(server: &TestServer, alice: &User) -> Vec<Status> {
    let mut failures = Vec::new();
    let tokens = match alice.login_with(PASSWORD).await {
        Ok(tokens) => Some(tokens),
        Err(status) => {
            failures.push(status);
            None
        }
    };
    let mut users = server.user_client();
    let request = GetUserRequest { key: Some(Key::UserId(alice.id.clone())) };
    failures.extend(users.get_user(administering(request)).await.err());
    failures.extend(users.list_users(administering(ListUsersRequest::default())).await.err());
    if let Some(tokens) = tokens {
        failures.extend(alice.refresh(&tokens.refresh_token).await.err());
        failures.extend(alice.revoke(Target::SessionId(tokens.session_id)).await.err());
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn all_calls_recover_when_a_column_has_another_type() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    // Several connections with their plans.
    let call = || call_all(&server, &alice);
    let failures = tokio::join!(call(), call(), call(), call(), call(), call());
    assert!(<[_; 6]>::from(failures).concat().is_empty());
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    for statement in [
        "ALTER TABLE users ALTER COLUMN username TYPE varchar(300)",
        "ALTER TABLE refresh_tokens ALTER COLUMN audience TYPE varchar(300)[]",
    ] {
        connection.execute(statement).await.expect(statement);
    }
    let mut rounds = 0;
    loop {
        let failures = call_all(&server, &alice).await;
        assert!(failures.iter().all(|status| status.code() == Code::Unavailable), "{failures:?}");
        if failures.is_empty() {
            break;
        }
        rounds += 1;
        assert!(rounds < 5, "{failures:?}");
    }
}

/// A newer version's migration under an older server, which names the columns that it writes.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_notices_that_audit_events_get_more_columns() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let call = || call_all(&server, &alice);
    let failures = tokio::join!(call(), call(), call(), call(), call(), call());
    assert!(<[_; 6]>::from(failures).concat().is_empty());
    let mut connection = PgConnection::connect(&server.database_url).await.expect("connect");
    connection.execute("ALTER TABLE audit_events ADD COLUMN newer text, ADD COLUMN newest text").await.expect("added");
    let failures = tokio::join!(call(), call(), call(), call(), call(), call());
    assert!(<[_; 6]>::from(failures).concat().is_empty());
}
