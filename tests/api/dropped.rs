//! Callers that leave. The future of each RPC, and of each operation on keys, is dropped at each of its awaits, one after the
//! other, until one call is through; then nothing may be lost: no lane, no permit, no connection, no lock, and no half of what
//! was asked for.

use std::{
    fmt::Debug,
    future::poll_fn,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
    time::Duration,
};

use countersign::{
    authz::Authorizer,
    domain::{
        key::{Purpose, Stage},
        policy::PepperMode,
    },
    edge::{self, Defaults},
    grpc::{
        self, Services,
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
use tonic::Code;

use crate::{
    envoy,
    keys::{kid, stored},
    support::{MASTER_KEY, PASSWORD, Proxy, Setup, TestServer, User, refusal},
};

/// As many connections as the servers under test have.
const CONNECTIONS: usize = 16;
const LANES: usize = 2;
/// Far more than the awaits of any call.
const MOST: usize = 200;
const AT_LAST: Duration = Duration::from_secs(60);
/// Counts the others who are in the middle of a statement or of a transaction.
const BUSY: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()";
/// Longer than a key is published before it may sign.
const LEAD: Duration = Duration::from_secs(71 * 60);
const OTHER_MASTER_KEY: &str = "//////////////////////////////////////////8=";

/// The RPCs of a server, called without a port: so that a call has no awaits but its own. The database is behind a proxy of
/// this runtime: where that has one thread, no answer is there before the call has waited for it, and no await is missed.
struct Callers {
    server: TestServer,
    services: Services,
    proxy: Proxy,
    database_url: String,
    /// How many tasks there are when nothing is under way.
    idle: usize,
}

impl Callers {
    async fn new(mut setup: Setup) -> Self {
        let database_url = setup.database_url.clone();
        let proxy = Proxy::before(&database_url);
        setup.database_url = proxy.url();
        // The database does not end by itself what was left behind.
        setup.database_deadline = 2 * AT_LAST;
        let server = setup.start().await;
        let authorizer = Authorizer::new(server.auth.clone(), server.authz.clone(), None);
        let services = grpc::services(authorizer, edge::Callers::new(Defaults::Loopback, None));
        let mut callers = Self { server, services, proxy, database_url, idle: usize::MAX };
        callers.settle().await;
        callers
    }

    /// Counts the tasks that there are when nothing is under way.
    async fn settle(&mut self) {
        // By then what the start has begun is over, and the user's connection is there to stay.
        let somebody = self.server.user(&format!("somebody-{}", self.idle)).await;
        self.idle = usize::MAX;
        for _ in 0..20 {
            somebody.login().await;
            for _ in 0..100 {
                self.idle = self.idle.min(self.tasks());
                yield_now().await;
            }
        }
    }

    /// The number of tasks that there are, but for the proxy's.
    fn tasks(&self) -> usize {
        Handle::current().metrics().num_alive_tasks().saturating_sub(self.proxy.connections())
    }

    /// Cuts a call at each await, until it is through; each time, what it has begun ends before anything is looked at. Says how
    /// many awaits there were.
    async fn at_each_await<T, E: Debug>(
        &self,
        call: impl AsyncFn() -> Result<T, E>,
        mut look: impl AsyncFnMut(),
    ) -> usize {
        for polls in 0..MOST {
            let answer = cut_after(polls, call()).await;
            let ended = async {
                while self.tasks() > self.idle {
                    yield_now().await;
                }
                // A commit that was sent and cut is still carried out.
                while self.count(BUSY).await > 0 {}
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
        let open = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        assert_eq!(self.count(open).await, 0, "a transaction is open");
    }

    async fn count(&self, statement: &'static str) -> i64 {
        let mut connection = PgConnection::connect(&self.database_url).await.expect("connected");
        sqlx::query_scalar(statement).fetch_one(&mut connection).await.expect("counted")
    }

    /// The name of the one key of `purpose` that is active.
    async fn active(&self, purpose: Purpose) -> String {
        let keys = stored(&self.server).await.into_iter().map(|s| s.key);
        let active: Vec<_> = keys.filter(|key| key.purpose == purpose && key.stage == Stage::Active).collect();
        assert_eq!(active.len(), 1, "{active:?}");
        active[0].kid.clone()
    }

    /// Asserts that each change of keys was noted, and that this replica has heard of it.
    async fn assert_keys_are_whole(&self, somebody: &User) {
        self.server.catch_up().await;
        let tokens = somebody.login().await;
        assert_eq!(kid(&tokens.access_token), self.active(Purpose::AccessToken).await);
        somebody.verify(&tokens.access_token).await.expect("valid");
        somebody.rotate(&tokens.refresh_token).await;
        let unlike = "SELECT count(*) FROM keys k, LATERAL (SELECT array_agg(e.kind) AS kinds FROM audit_events e \
             WHERE e.detail = k.purpose || ' ' || k.kid) e WHERE NOT COALESCE('key_created' = ANY (kinds), false) \
             OR (k.stage = 'killed') <> ('key_killed' = ANY (kinds)) OR k.purpose <> 'pepper' AND k.number > 1 \
             AND k.stage <> 'killed' AND (k.stage <> 'next') <> ('key_activated' = ANY (kinds))";
        assert_eq!(self.count(unlike).await, 0, "each change has its event, and each event its change");
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
    let bearer = format!("Bearer {}", one.access_token);
    let question = envoy::question("GET", "h/", &[("authorization", &bearer)]);
    let nothing = async || ();
    let counts = [
        callers.at_each_await(async || envoy::check(callers.services.clone(), question.clone()).await, nothing).await,
        callers.at_each_await(async || callers.auth().verify(one.clone()).await, nothing).await,
        callers.at_each_await(async || callers.auth().verify_batch(many.clone()).await, nothing).await,
        callers.at_each_await(async || callers.auth().get_jwks(GetJwksRequest {}).await, nothing).await,
    ];
    assert_eq!(counts, [1; 4]);
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
async fn p2_a_browser_whose_proxy_gives_up_is_not_logged_out() {
    let callers = Callers::new(Setup::new().await).await;
    let alice = callers.server.user("alice").await;
    let token = Mutex::new(alice.login().await.refresh_token);
    let call = async || {
        let cookie = format!("{}={}", callers.server.authz.refresh_cookie, token.lock().await);
        let question = envoy::question("GET", "h/", &[("cookie", &cookie)]);
        envoy::check(callers.services.clone(), question).await.map(envoy::Verdict::passes)
    };
    let look = async || {
        let mut token = token.lock().await;
        *token = alice.rotate(&token).await.refresh_token;
    };
    assert!(callers.at_each_await(call, look).await > 1, "it waits for the database");
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

#[tokio::test]
async fn a_rotation_of_keys_that_is_cut_is_whole_or_nothing() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = PepperMode::On;
    let callers = Callers::new(setup).await;
    let alice = callers.server.user("alice").await;
    for purpose in Purpose::ALL {
        callers.server.pass(LEAD).await;
        let look = async || {
            callers.assert_keys_are_whole(&alice).await;
            callers.active(purpose).await;
            callers.server.pass(LEAD).await;
        };
        let awaits = callers.at_each_await(async || callers.server.auth.keys.rotate(purpose).await, look).await;
        assert!(awaits > 8, "one for each statement: {awaits}");
    }
    callers.assert_nothing_is_held().await;
}

#[tokio::test]
async fn p1_a_kill_of_a_key_that_is_cut_is_whole_or_can_be_asked_again() {
    let callers = Callers::new(Setup::new().await).await;
    let alice = callers.server.user("alice").await;
    for purpose in [Purpose::AccessToken, Purpose::RefreshToken] {
        let asked = Mutex::new((callers.active(purpose).await, alice.login().await));
        let kill = async || {
            let kid = asked.lock().await.0.clone();
            callers.server.auth.keys.kill(&kid).await
        };
        let look = async || {
            callers.assert_keys_are_whole(&alice).await;
            let mut asked = asked.lock().await;
            if callers.active(purpose).await == asked.0 {
                alice.verify(&asked.1.access_token).await.expect("not killed");
                callers.server.auth.keys.kill(&asked.0).await.expect("asked again");
                callers.assert_keys_are_whole(&alice).await;
            }
            let refused = match purpose {
                Purpose::AccessToken => refusal(alice.verify(&asked.1.access_token).await),
                _ => refusal(alice.refresh(&asked.1.refresh_token).await),
            };
            assert!(["TOKEN_REVOKED", "REFRESH_TOKEN_INVALID"].contains(&refused.1.as_str()), "{refused:?}");
            callers.server.pass(LEAD).await;
            *asked = (callers.active(purpose).await, alice.login().await);
        };
        let awaits = callers.at_each_await(kill, look).await;
        assert!(awaits > 8, "{awaits}");
    }
    callers.assert_nothing_is_held().await;
}

#[tokio::test]
async fn a_change_of_master_keys_that_is_cut_can_be_asked_again() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = PepperMode::On;
    setup.master_key = format!("{MASTER_KEY}\n{OTHER_MASTER_KEY}\n");
    let mut callers = Callers::new(setup).await;
    let alice = callers.server.user("alice").await;
    let mut back = Setup::on(callers.database_url.clone(), callers.server.clock.clone());
    back.master_key = format!("{OTHER_MASTER_KEY}\n{MASTER_KEY}\n");
    let back = back.without_start();
    let mut moved = u64::try_from(back.keys.reseal().await.expect("moved").count).expect("few");
    assert_eq!(moved, 6, "five keys and the secret of decoys");
    callers.settle().await;
    let callers = callers;
    let look = async || {
        let resealed = back.keys.reseal().await.expect("moved back");
        assert!(resealed.closed.is_empty(), "{:?}", resealed.closed);
        // Those that were moved are moved back.
        moved += 2 * resealed.count as u64;
        let events = callers.count("SELECT count(*) FROM audit_events WHERE kind = 'key_resealed'").await;
        assert_eq!(events, i64::try_from(moved).expect("few"), "each has its event");
        callers.assert_keys_are_whole(&alice).await;
    };
    let awaits = callers.at_each_await(async || callers.server.auth.keys.reseal().await, look).await;
    assert!(awaits > 26, "{awaits}");
    callers.assert_nothing_is_held().await;
}

/// Work that a server does by itself, and that is cut when it stops.
#[tokio::test]
async fn what_is_due_for_keys_and_is_cut_is_done_later() {
    let mut setup = Setup::new().await;
    setup.settings.keys.key_lifetime = Duration::from_secs(61 * 60);
    let callers = Callers::new(setup).await;
    let alice = callers.server.user("alice").await;
    let keys = &callers.server.auth.keys;
    let look = async || {
        callers.assert_keys_are_whole(&alice).await;
        keys.look_after().await.expect("looked after");
        callers.assert_keys_are_whole(&alice).await;
        callers.server.advance(LEAD).await;
    };
    look().await;
    let awaits = callers.at_each_await(async || keys.look_after().await, look).await;
    assert!(awaits > 20, "{awaits}");
    callers.assert_nothing_is_held().await;
}

#[tokio::test]
async fn an_export_of_peppers_that_is_cut_holds_nothing() {
    let mut setup = Setup::new().await;
    setup.settings.passwords.password_pepper = PepperMode::On;
    let callers = Callers::new(setup).await;
    let export = async || callers.server.auth.keys.export_peppers().await;
    let awaits = callers.at_each_await(export, async || ()).await;
    assert!(awaits > 2, "{awaits}");
    let events = callers.count("SELECT count(*) FROM audit_events WHERE kind = 'peppers_exported'").await;
    assert!((1..=i64::try_from(awaits).expect("few") + 1).contains(&events), "{events}");
    callers.assert_nothing_is_held().await;
}

#[tokio::test]
async fn p6_a_secret_of_decoys_that_was_being_made_is_one() {
    let callers = Callers::new(Setup::new().await).await;
    let keys = &callers.server.auth.keys;
    let look = async || {
        let secret = keys.decoy_secret(None).await.expect("made");
        assert!(keys.decoy_secret(None).await.expect("read") == secret, "the one that is stored");
        assert_eq!(
            callers.count("WITH gone AS (DELETE FROM decoy_secret RETURNING 1) SELECT count(*) FROM gone").await,
            1
        );
    };
    look().await;
    let awaits = callers.at_each_await(async || keys.decoy_secret(None).await, look).await;
    assert!(awaits > 2, "{awaits}");
    callers.assert_nothing_is_held().await;
}
