//! Callers that leave. The future of each RPC, and of each change of keys, is dropped at each of its awaits, one after the other, until one call is through;
//! then nothing may be lost: no lane, no permit, no connection, no lock, and no half of what was asked for.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
    time::Duration,
};

use countersign::{
    domain::{key::Purpose, policy::PepperMode},
    error::Error,
    grpc::{
        self, Administration, Services,
        v1::{
            CreateUserRequest, DeleteUserRequest, GetJwksRequest, GetUserRequest, ImportUsersRequest, ImportedUser,
            ListSessionsRequest, ListUsersRequest, LoginRequest, RefreshRequest, RevokeRequest, SetPasswordRequest,
            UpdateUserRequest, VerifyBatchRequest, VerifyRequest, WatchRevocationsRequest,
            auth_service_client::AuthServiceClient, get_user_request::Key, revoke_request::Target,
            user_service_client::UserServiceClient,
        },
    },
};
use sqlx::{Connection as _, PgConnection};
use tokio::{runtime::Handle, sync::Mutex, task::yield_now, time::timeout};
use tonic::{Code, Response, Status};

use crate::support::{PASSWORD, Setup, TestServer, User, refusal};

/// As many connections as the servers under test have.
const CONNECTIONS: usize = 16;
const LANES: usize = 2;
/// Far more than the awaits of any call.
const MOST: usize = 200;
const AT_LAST: Duration = Duration::from_secs(60);

/// The RPCs of a server, called without a port: so that a call has no awaits but its own.
struct Callers {
    server: TestServer,
    services: Services,
    /// How many tasks there are when nothing is under way.
    idle: usize,
}

impl Callers {
    async fn new(setup: Setup) -> Self {
        let server = setup.start().await;
        let services = grpc::services(server.auth.clone(), Administration::Everybody);
        // By then what the start has begun is over, and the user's connection is there to stay.
        let somebody = server.user("somebody").await;
        let mut idle = usize::MAX;
        for _ in 0..20 {
            somebody.login().await;
            for _ in 0..100 {
                idle = idle.min(Handle::current().metrics().num_alive_tasks());
                yield_now().await;
            }
        }
        Self { server, services, idle }
    }

    /// Cuts a call at each await, until it is through; each time, what it has begun ends before anything is looked at. Says how
    /// many awaits there were.
    async fn at_each_await<T>(
        &self,
        call: impl AsyncFn() -> Result<Response<T>, Status>,
        mut look: impl AsyncFnMut(),
    ) -> usize {
        for polls in 0..MOST {
            let answer = cut_after(polls, call()).await;
            let ended = async {
                while Handle::current().metrics().num_alive_tasks() > self.idle {
                    yield_now().await;
                }
            };
            timeout(AT_LAST, ended).await.expect("what was begun ends");
            look().await;
            if let Some(answer) = answer {
                answer.expect("the call that was not cut is answered");
                return polls;
            }
        }
        panic!("a call without an end");
    }

    fn auth(&self) -> AuthServiceClient<Services> {
        AuthServiceClient::new(self.services.clone())
    }

    fn users(&self) -> UserServiceClient<Services> {
        UserServiceClient::new(self.services.clone())
    }

    /// Nothing is held any more: every connection can be had at once, every lane is free, and no transaction is open.
    async fn assert_nothing_is_held(&self) {
        let sessions = &self.server.auth.sessions;
        let free = async {
            let mut held = Vec::new();
            for _ in 0..CONNECTIONS {
                held.push(self.server.auth.base.store.acquire().await.expect("a connection"));
            }
            drop(held);
            while sessions.rotations().free_lanes() < LANES || !sessions.rotations().is_empty() {
                yield_now().await;
            }
            while !sessions.ending().is_empty() {
                yield_now().await;
            }
        };
        timeout(AT_LAST, free).await.expect("all is given back");
        let mut connection = PgConnection::connect(&self.server.database_url).await.expect("connected");
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&mut connection).await.expect("counted");
        assert_eq!(open, 0, "a transaction is open");
    }
}

/// Polls a call so many times, each time when it is woken, and drops it then; gives its answer if it came before.
async fn cut_after<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = Box::pin(call);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn assert_lives(alice: &User) {
    let tokens = alice.login().await;
    alice.verify(&tokens.access_token).await.expect("a live session");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_nothing_has_no_await() {
    let callers = Callers::new(Setup::new().await).await;
    let access_token = callers.server.user("alice").await.login().await.access_token;
    let one = VerifyRequest { access_token: access_token.clone(), ..Default::default() };
    let many = VerifyBatchRequest { access_tokens: vec![access_token], ..Default::default() };
    let nothing = async || ();
    let counts = [
        callers.at_each_await(async || callers.auth().verify(one.clone()).await, nothing).await,
        callers.at_each_await(async || callers.auth().verify_batch(many.clone()).await, nothing).await,
        callers.at_each_await(async || callers.auth().get_jwks(GetJwksRequest {}).await, nothing).await,
    ];
    assert_eq!(counts, [1, 1, 1]);
    callers.assert_nothing_is_held().await;
}

/// An attempt whose caller has gone is taken back: more than are free are cut, and the next is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_caller_leaves_is_whole_or_nothing_and_no_guess() {
    let mut setup = Setup::new().await;
    setup.settings.throttling.login_failures = 3;
    let callers = Callers::new(setup).await;
    let alice = callers.server.user("alice").await;
    let request = LoginRequest { username: alice.name.clone(), password: PASSWORD.into(), ..Default::default() };
    for _ in 0..4 {
        let awaits = callers.at_each_await(async || callers.auth().login(request.clone()).await, async || ()).await;
        assert!(awaits > 1, "it waits for the hash");
    }
    assert_lives(&alice).await;
    callers.assert_nothing_is_held().await;
    let mut connection = PgConnection::connect(&callers.server.database_url).await.expect("connected");
    let unlike = "SELECT (SELECT count(*) FROM refresh_tokens) - (SELECT count(*) FROM audit_events WHERE kind = 'login_succeeded')";
    let unlike: i64 = sqlx::query_scalar(unlike).fetch_one(&mut connection).await.expect("counted");
    assert_eq!(unlike, 0, "each session that was opened has its event");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_refresh_whose_caller_leaves_logs_nobody_out() {
    let callers = Callers::new(Setup::new().await).await;
    let alice = callers.server.user("alice").await;
    for _ in 0..3 {
        let token = Mutex::new(alice.login().await.refresh_token);
        let call = async || {
            let refresh_token = token.lock().await.clone();
            callers.auth().refresh(RefreshRequest { refresh_token, ..Default::default() }).await
        };
        let look = async || {
            let mut token = token.lock().await;
            *token = alice.rotate(&token).await.refresh_token;
        };
        callers.at_each_await(call, look).await;
    }
    callers.assert_nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_revoke_whose_caller_leaves_is_whole_or_can_be_asked_again() {
    let callers = Callers::new(Setup::new().await).await;
    let alice = callers.server.user("alice").await;
    for by_user in [false, true] {
        let tokens = Mutex::new(alice.login().await);
        let request = async || {
            let session_id = tokens.lock().await.session_id.clone();
            let target = if by_user { Target::UserId(alice.id.clone()) } else { Target::SessionId(session_id) };
            RevokeRequest { target: Some(target), ..Default::default() }
        };
        let call = async || callers.auth().revoke(request().await).await;
        let look = async || {
            let again = callers.auth().revoke(request().await).await.expect("revoked").into_inner();
            assert!(again.confirmed);
            let mut tokens = tokens.lock().await;
            assert_eq!(refusal(alice.verify(&tokens.access_token).await).1, "TOKEN_REVOKED");
            *tokens = alice.login().await;
        };
        callers.at_each_await(call, look).await;
    }
    callers.assert_nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_user_whose_caller_leaves_is_whole_or_nothing() {
    const ANOTHER: &str = "another one, long enough";
    let callers = Callers::new(Setup::new().await).await;
    let alice = callers.server.user("alice").await;
    let set = |password: &str| SetPasswordRequest { user_id: alice.id.clone(), password: password.to_owned() };
    let disabled =
        |disabled| UpdateUserRequest { user_id: alice.id.clone(), disabled: Some(disabled), ..Default::default() };
    let as_before = async || {
        let (old, new) = (alice.login_with(PASSWORD).await, alice.login_with(ANOTHER).await);
        assert!(old.is_err() || new.is_err(), "one password at most");
        callers.users().set_password(set(PASSWORD)).await.expect("set");
        callers.users().update_user(disabled(false)).await.expect("enabled");
        assert_lives(&alice).await;
    };
    callers.at_each_await(async || callers.users().set_password(set(ANOTHER)).await, as_before).await;
    let change = async || callers.users().change_password(alice.change_password(ANOTHER, "")).await;
    callers.at_each_await(change, as_before).await;
    callers.at_each_await(async || callers.users().update_user(disabled(true)).await, as_before).await;
    callers.assert_nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_maker_or_ender_leaves_is_there_or_not() {
    let callers = Callers::new(Setup::new().await).await;
    let count = AtomicUsize::new(0);
    let name = || format!("user-{}", count.load(Ordering::Relaxed));
    let create = || CreateUserRequest { username: name(), password: PASSWORD.into(), roles: vec![] };
    let whole = async || {
        let again = callers.users().create_user(create()).await;
        assert!(again.as_ref().map_or_else(|status| status.code() == Code::AlreadyExists, |_| true), "{again:?}");
        let login = LoginRequest { username: name(), password: PASSWORD.into(), ..Default::default() };
        callers.auth().login(login).await.expect("whole");
        count.fetch_add(1, Ordering::Relaxed);
    };
    callers.at_each_await(async || callers.users().create_user(create()).await, whole).await;

    let bob = Mutex::new(callers.server.user("bob").await);
    let delete = async || DeleteUserRequest { user_id: bob.lock().await.id.clone() };
    let gone = async || {
        let again = callers.users().delete_user(delete().await).await;
        assert!(again.as_ref().map_or_else(|status| status.code() == Code::NotFound, |_| true), "{again:?}");
        let mut bob = bob.lock().await;
        assert_eq!(refusal(bob.login_with(PASSWORD).await).1, "INVALID_CREDENTIALS");
        *bob = callers.server.user("bob").await;
    };
    callers.at_each_await(async || callers.users().delete_user(delete().await).await, gone).await;
    callers.assert_nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_whose_caller_leaves_can_be_sent_again() {
    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu5s1xTgzZ0d5XZ3sGm1eYwgMNvQk9Oe6";
    let callers = Callers::new(Setup::new().await).await;
    let count = AtomicUsize::new(0);
    let stream = || {
        let user = |nth| ImportedUser {
            username: format!("user-{}-{nth}", count.load(Ordering::Relaxed)),
            password_hash: HASH.to_owned(),
            ..Default::default()
        };
        tokio_stream::iter([ImportUsersRequest { users: vec![user(0), user(1)], ..Default::default() }])
    };
    let look = async || {
        let again = callers.users().import_users(stream()).await.expect("imported").into_inner();
        assert_eq!((again.imported + again.skipped, again.refused), (2, 0));
        assert!([0, 2].contains(&again.imported), "both or none");
        count.fetch_add(1, Ordering::Relaxed);
    };
    callers.at_each_await(async || callers.users().import_users(stream()).await, look).await;
    callers.assert_nothing_is_held().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_holds_nothing() {
    let callers = Callers::new(Setup::new().await).await;
    let alice = callers.server.user("alice").await;
    let nothing = async || ();
    for _ in 0..2 {
        let request = ListSessionsRequest { user_id: alice.id.clone(), ..Default::default() };
        callers.at_each_await(async || callers.auth().list_sessions(request.clone()).await, nothing).await;
        let request = GetUserRequest { key: Some(Key::Username(alice.name.clone())) };
        callers.at_each_await(async || callers.users().get_user(request.clone()).await, nothing).await;
        let request = ListUsersRequest::default();
        callers.at_each_await(async || callers.users().list_users(request.clone()).await, nothing).await;
        let request = WatchRevocationsRequest::default();
        callers.at_each_await(async || callers.auth().watch_revocations(request.clone()).await, nothing).await;
    }
    callers.assert_nothing_is_held().await;
}

/// An answer, as those of RPCs are looked at.
fn answered<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| Status::internal(error.to_string()))
}

/// What a command does with keys, which a signal may cut short.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_keys_whose_maker_leaves_is_whole_or_nothing() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = PepperMode::On;
    let callers = Callers::new(setup).await;
    let (keys, alice) = (&callers.server.auth.keys, callers.server.user("alice").await);
    let url = &callers.server.database_url;
    let active = async || {
        let mut connection = PgConnection::connect(url).await.expect("connected");
        let active = "SELECT purpose, kid FROM keys WHERE stage = 'active' ORDER BY purpose";
        let active: Vec<(String, String)> = sqlx::query_as(active).fetch_all(&mut connection).await.expect("listed");
        let purposes: Vec<&str> = active.iter().map(|(purpose, _)| purpose.as_str()).collect();
        assert_eq!(purposes, ["access_token", "pepper", "refresh_token"], "one key of each purpose is in use");
        active[0].1.clone()
    };
    let signing = Mutex::new(active().await);
    let look = async || {
        *signing.lock().await = active().await;
        callers.server.catch_up().await;
        assert_lives(&alice).await;
    };
    let kill = async || answered(keys.kill(&signing.lock().await.clone()).await);
    callers.at_each_await(kill, look).await;
    callers.at_each_await(async || answered(keys.rotate(Purpose::Pepper).await), look).await;
    callers.at_each_await(async || answered(keys.reseal().await), look).await;
    callers.at_each_await(async || answered(keys.export_peppers().await), look).await;
    callers.assert_nothing_is_held().await;
}
