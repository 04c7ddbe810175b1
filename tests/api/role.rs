//! A role that may read and write rows, and nothing else: the statements of docs/operating.md are enough for the service.

use std::time::Duration;

use countersign::{
    grpc::v1::{
        DeleteUserRequest, GetUserRequest, ListSessionsRequest, ListUsersRequest, SetPasswordRequest,
        UpdateUserRequest, get_user_request::Key, revoke_request::Target,
    },
    store::{Store, StoreSettings},
};
use countersign_token::clock::Clock;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::{PASSWORD, Setup, TestServer, User, administering, database, refusal};

const DOCUMENT: &str = include_str!("../../docs/operating.md");

/// Carries out what the document says, by a superuser, and gives the URLs of the owner and of the other role.
async fn prepare() -> (String, String) {
    let any = database().await;
    let statements = DOCUMENT.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).expect("statements");
    let (outside, inside) = statements.split_once("\\connect countersign\n").expect("a new database");
    let (server, rest) = any.split_once('?').expect("a socket URL");
    let server = server.rsplit_once('/').expect("a database").0;
    let url = |user: &str| format!("{}/countersign_roles?{rest}", server.replace("countersign@", &format!("{user}@")));
    for (url, statements) in [(any.clone(), outside), (url("countersign"), inside)] {
        let mut connection = PgConnection::connect(&url).await.expect("connect");
        let statements = statements.replace("DATABASE countersign", "DATABASE countersign_roles");
        for statement in statements.lines() {
            connection.execute(AssertSqlSafe(statement)).await.expect(statement);
        }
    }
    (url("countersign_owner"), url("countersign_app"))
}

/// All that an administrator does with a user.
async fn administer(server: &TestServer, alice: &User) {
    let mut users = server.user_client();
    let key = || Some(Key::UserId(alice.id.clone()));
    users.get_user(administering(GetUserRequest { key: key() })).await.expect("got");
    users.list_users(administering(ListUsersRequest::default())).await.expect("listed");
    let sessions = ListSessionsRequest { user_id: alice.id.clone(), ..Default::default() };
    server.auth_client().list_sessions(administering(sessions)).await.expect("listed");
    let change = alice.change_password("another correct horse", "");
    users.change_password(administering(change)).await.expect("changed");
    let request = SetPasswordRequest { user_id: alice.id.clone(), password: PASSWORD.into() };
    users.set_password(administering(request)).await.expect("set");
    let request = UpdateUserRequest { user_id: alice.id.clone(), disabled: Some(true), ..Default::default() };
    assert!(users.update_user(administering(request)).await.expect("updated").into_inner().confirmed);
    let request = DeleteUserRequest { user_id: alice.id.clone() };
    users.delete_user(administering(request)).await.expect("deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_documented_grants_runs_the_service() {
    let (owner, app) = prepare().await;
    let store = |url: &str| {
        let settings = StoreSettings { url: url.to_owned(), connections: 1, deadline: Duration::from_secs(10) };
        Store::new(&settings).expect("settings")
    };
    store(&owner).migrate().await.expect("migrated");
    store(&app).check_compatible().await.expect("supported");
    assert_eq!(store(&app).missing_migrations().await.expect("read"), 0);
    let mut connection = PgConnection::connect(&app).await.expect("connect");
    assert!(connection.execute("CREATE TABLE own (id int)").await.is_err(), "it may change no schema");

    let server = Setup::on(app, Clock::manual()).with_admin_token().start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    refusal(alice.login_with("wrong").await);
    alice.at(&other).verify(&tokens.access_token).await.expect("verified");
    let rotated = alice.rotate(&tokens.refresh_token).await;
    let target = Target::RefreshToken(rotated.refresh_token);
    assert!(alice.revoke(target).await.expect("revoked").confirmed);
    administer(&server, &alice).await;
    server.pass(Duration::from_secs(40 * 24 * 3600)).await;
    for server in [server, other] {
        server.stop().await.expect("stopped");
    }
}
