//! A role that may read and write rows, and nothing else: the statements of docs/operating.md are enough for the service, and so is
//! the part of them that `countersign doctor` asks for.

use std::{process::Command, time::Duration};

use countersign::{
    domain::key::Purpose,
    grpc::v1::{
        DeleteUserRequest, GetUserRequest, ListSessionsRequest, ListUsersRequest, SetPasswordRequest,
        UpdateUserRequest, get_user_request::Key, revoke_request::Target,
    },
    store::{Store, StoreSettings, inspection::NEEDS},
};
use countersign_token::clock::Clock;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::{
    doctor::visit,
    support::{PASSWORD, Setup, TestServer, User, administering, database, refusal},
};

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

/// Leaves the role those grants alone that the doctor asks for.
async fn narrow(owner: &str) {
    let mut connection = PgConnection::connect(owner).await.expect("connect");
    connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM countersign_app").await.expect("revoked");
    for (table, privileges) in NEEDS {
        let statement = format!("GRANT {} ON {table} TO countersign_app", privileges.join(", "));
        connection.execute(AssertSqlSafe(statement)).await.expect(table);
    }
}

/// Drops one grant after the other, and looks if it is named.
async fn dropped_grants_are_named(owner: &str, app: &str) {
    let mut connection = PgConnection::connect(owner).await.expect("connect");
    for (privilege, table) in
        [("DELETE", "refresh_tokens"), ("UPDATE", "revocation_head"), ("SELECT", "_sqlx_migrations")]
    {
        let statement =
            |verb: &str, to: &str| AssertSqlSafe(format!("{verb} {privilege} ON {table} {to} countersign_app"));
        connection.execute(statement("REVOKE", "FROM")).await.expect("revoked");
        let found = visit(app, &[]);
        let remedy = format!("GRANT {privilege} ON public.{table} TO countersign_app");
        found.says("database.grants", "error", &format!("lacks {privilege} on {table}"), &remedy);
        connection.execute(statement("GRANT", "TO")).await.expect("granted");
    }
    visit(app, &[]).is_well();
    connection.execute("REVOKE SELECT ON keys FROM countersign_app").await.expect("revoked");
    let listed = Command::new(env!("CARGO_BIN_EXE_countersign")).args(["keys", "list", "--database-url", app]).output();
    let said = String::from_utf8(listed.expect("it runs").stderr).expect("text");
    assert!(said.contains("permission denied for table keys") && said.contains("`countersign doctor`"), "{said}");
    connection.execute("GRANT SELECT ON keys TO countersign_app").await.expect("granted");
}

/// All that servers and operators do with the keys.
async fn change_keys(server: &TestServer) {
    server.pass(Duration::from_secs(2 * 3600)).await;
    for purpose in [Purpose::AccessToken, Purpose::RefreshToken] {
        server.auth.keys.rotate(purpose).await.expect("rotated");
    }
    server.auth.keys.kill("1").await.expect("killed");
    server.auth.keys.reseal().await.expect("sealed");
}

/// What operators do on the command line.
fn operate(app: &str) {
    for args in [&["sessions", "end-all"][..], &["sessions", "accept-restore"], &["keys", "list"], &["audit", "tail"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign")).args(args).args(["--database-url", app]).output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// All that is deleted when it is old.
async fn clean(server: &TestServer) {
    server.auth.base.log.clean().await.expect("cleaned");
    server.auth.passwords.clean_throttle().await.expect("cleaned");
    server.auth.base.audit.delete_old().await.expect("cleaned");
    server.auth.sessions.delete_ended().await.expect("cleaned");
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
    visit(&app, &[]).says("database.migrations", "error", "14 migrations are missing", "as the owner of the tables");
    let store = |url: &str| {
        let settings = StoreSettings { url: url.to_owned(), connections: 1, deadline: Duration::from_secs(10) };
        Store::new(&settings).expect("settings")
    };
    store(&owner).migrate().await.expect("migrated");
    store(&app).check_compatible().await.expect("supported");
    assert_eq!(store(&app).missing_migrations().await.expect("read"), 0);
    let mut connection = PgConnection::connect(&app).await.expect("connect");
    assert!(connection.execute("CREATE TABLE own (id int)").await.is_err(), "it may change no schema");
    visit(&app, &[]).is_well();
    narrow(&owner).await;
    let narrowed = visit(&app, &[]);
    narrowed.is_well();
    narrowed.says("database.grants", "ok", "countersign_app may do what `serve` does", "");

    let server = Setup::on(app.clone(), Clock::manual()).with_admin_token().start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    refusal(alice.login_with("wrong").await);
    alice.at(&other).verify(&tokens.access_token).await.expect("verified");
    let rotated = alice.rotate(&tokens.refresh_token).await;
    let target = Target::RefreshToken(rotated.refresh_token);
    assert!(alice.revoke(target).await.expect("revoked").confirmed);
    administer(&server, &alice).await;
    change_keys(&server).await;
    server.pass(Duration::from_secs(40 * 24 * 3600)).await;
    clean(&server).await;
    operate(&app);
    for server in [server, other] {
        server.stop().await.expect("stopped");
    }
    dropped_grants_are_named(&owner, &app).await;
}
