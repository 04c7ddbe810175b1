//! What a new password must not be: on the operator's list, or easy to guess.

use std::{
    env, fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use countersign::{
    error::Error,
    grpc::v1::{CreateUserRequest, SetPasswordRequest},
};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::support::{PASSWORD, Setup, TestServer, violations};

const LISTED: &str = "to be or not to be";

/// A file that goes away with the test.
struct List(PathBuf);

impl List {
    fn of(name: &str, content: &str) -> Self {
        let path = env::temp_dir().join(format!("countersign-{name}-{}", std::process::id()));
        fs::write(&path, content).expect("written");
        Self(path)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

async fn with_list(list: &List) -> Result<TestServer, Error> {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_blocklist = Some(list.0.clone());
    setup.try_start().await
}

/// The field that was wrong with the request, and what is said of it.
fn violation<T: std::fmt::Debug>(answer: Result<T, Status>) -> (String, String) {
    let status = answer.expect_err("refused");
    let details = status.get_details_bad_request().expect("BadRequest").field_violations;
    let [violation] = &details[..] else {
        panic!("{details:?}");
    };
    (violation.field.clone(), violation.description.clone())
}

#[tokio::test]
async fn r52_a_password_on_the_list_cannot_be_chosen_in_any_way_and_still_logs_in() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let old = SetPasswordRequest { user_id: alice.id.clone(), password: LISTED.into() };
    server.user_client().set_password(old).await.expect("set while there was no list");
    let list = List::of("plain", &format!("something else\n{LISTED}\n"));
    let mut setup = Setup::on(server.database_url.clone(), server.clock.clone());
    setup.settings.passwords.password_blocklist = Some(list.0.clone());
    let strict = setup.start().await;
    let mut users = strict.user_client();
    let listed = "To Be Or Not \u{ff34}o Be";
    let reason = "is on the list of passwords that are known to attackers";
    let create = CreateUserRequest { username: "bob".into(), password: listed.into(), roles: vec![] };
    assert_eq!(violation(users.create_user(create).await), ("password".into(), reason.into()));
    let set = SetPasswordRequest { user_id: alice.id.clone(), password: listed.into() };
    assert_eq!(violation(users.set_password(set).await), ("password".into(), reason.into()));
    let mut change = alice.change_password(listed, "");
    change.old_password = LISTED.into();
    assert_eq!(violation(users.change_password(change.clone()).await), ("new_password".into(), reason.into()));
    alice.at(&strict).login_with(LISTED).await.expect("what is in use stays in use");
    change.new_password = PASSWORD.into();
    users.change_password(change).await.expect("changed");
}

#[tokio::test]
async fn r52_a_list_of_sha_1_hashes_is_one_too() {
    // `printf %s 'to be or not to be' | sha1sum`
    let list = List::of("sha1", "8B09F520DEC8E7C2C405E5F76793409EDE3459B8:42\n");
    let server = with_list(&list).await.expect("started");
    let create =
        |password: &str| CreateUserRequest { username: "bob".into(), password: password.into(), roles: vec![] };
    assert_eq!(violations(server.user_client().create_user(create(LISTED)).await), ["password"]);
    server.user_client().create_user(create("To Be Or Not To Be")).await.expect("another password");
}

#[tokio::test]
async fn a_server_does_not_start_without_the_list_that_it_is_to_have() {
    let list = List::of("broken", "8B09F520DEC8E7C2C405E5F76793409EDE3459B8:42\n<html>\n");
    let error = with_list(&list).await.err().expect("refused").to_string();
    assert!(error.ends_with("line 2: not a SHA-1 hash, as the lines before are"), "{error}");
    fs::remove_file(&list.0).expect("removed");
    let error = with_list(&list).await.err().expect("refused").to_string();
    assert!(error.starts_with("password-blocklist: ") && error.contains("No such file"), "{error}");
}

/// `countersign user ...`, which reads the password from its input.
fn user(server: &TestServer, list: &List, args: [&str; 2], password: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["user", "--database-url", &server.database_url]).args(args).arg("--password-stdin");
    command.env("COUNTERSIGN_PASSWORD_BLOCKLIST", &list.0).env("COUNTERSIGN_LOG", "warn");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    writeln!(child.stdin.take().expect("piped"), "{password}").expect("written");
    child.wait_with_output().expect("it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn r52_the_command_line_refuses_what_the_service_refuses() {
    let server = TestServer::start().await;
    let list = List::of("command", &format!("{LISTED}\n"));
    for action in ["add", "passwd"] {
        let refused = user(&server, &list, [action, "bob"], LISTED);
        let said = String::from_utf8(refused.stderr).expect("text");
        assert_eq!(said, "countersign: password: is on the list of passwords that are known to attackers\n");
        let added = user(&server, &list, ["add", "bob"], PASSWORD);
        assert_eq!(added.status.success(), action == "add", "there is one bob");
    }
    assert!(user(&server, &list, ["passwd", "bob"], PASSWORD).status.success());
}

#[tokio::test]
async fn r52_a_password_that_is_easy_to_guess_is_refused_and_the_name_counts_as_known() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_min_score = 3;
    let server = setup.start().await;
    let create = |username: &str, password: &str| CreateUserRequest {
        username: username.into(),
        password: password.into(),
        roles: vec![],
    };
    let name = "hieronymus-vandersloot";
    let (field, reason) = violation(server.user_client().create_user(create(name, name)).await);
    assert!(field == "password" && reason.starts_with("too easy to guess: "), "{reason}");
    server.user_client().create_user(create("bob", name)).await.expect("not his name");
    let alice = server.user("alice").await;
    let change = alice.change_password("aaaaaaaaaaaaaaaaaaaa", "");
    assert_eq!(violation(server.user_client().change_password(change).await).0, "new_password");
}
