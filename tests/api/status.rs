//! The status page: what is broken can be told from it alone.

use std::time::Duration;

use countersign::grpc::v1::LoginRequest;
use countersign_token::clock::Clock;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::timeout;

use crate::{
    http_client::http,
    support::{Process, Proxy, Setup, TestServer, database},
};

const PATIENT: Duration = Duration::from_secs(60);

async fn page(server: &TestServer) -> String {
    let answer = http(server.http_addr, "GET /status", &[b"host: h"], b"").await;
    assert_eq!(answer.status, 200);
    answer.body
}

/// The page, once it says this.
async fn page_that_says(server: &TestServer, what: &str) -> String {
    let says = async {
        loop {
            let page = page(server).await;
            if page.contains(what) {
                return page;
            }
        }
    };
    timeout(PATIENT, says).await.unwrap_or_else(|_| panic!("{what}"))
}

/// A server by the machine's clock, with a proxy before its database.
async fn behind(url: String) -> (TestServer, Proxy) {
    let mut setup = Setup::on(url, Clock::system());
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    setup.database_deadline = Duration::from_millis(300);
    setup.settings.revocation.max_staleness = Duration::from_secs(3);
    (setup.start().await, proxy)
}

#[tokio::test]
async fn it_is_off_unless_a_setting_turns_it_on_and_goes_where_metrics_are() {
    for (settings, expected) in [
        (&[][..], [404, 0]),
        (&["--status-page"], [200, 0]),
        (&["--status-page", "--metrics-addr", "127.0.0.1:0"], [404, 200]),
    ] {
        let process = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, settings).await;
        let own = process.start.iter().find_map(|line| line["metrics"].as_str());
        let mut found = [0, 0];
        for (place, addr) in [Some(process.http_addr.as_str()), own].into_iter().enumerate() {
            if let Some(addr) = addr {
                let addr = addr.parse().expect("an address");
                found[place] = http(addr, "GET /status", &[b"host: h"], b"").await.status;
            }
        }
        assert_eq!(found, expected, "{settings:?}");
    }
}

#[tokio::test]
async fn where_all_is_well_it_says_so_and_what_users_typed_is_no_markup() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    alice.login().await;
    let client = countersign::grpc::v1::ClientInfo { ip: "203.0.113.7".into(), ..Default::default() };
    let login = LoginRequest {
        username: "alice".into(),
        password: "<script>alert(1)</script>".into(),
        client: Some(client),
        ..Default::default()
    };
    server.auth_client().login(login).await.expect_err("wrong");
    server.auth.base.audit.write_refusals().await.expect("written");
    let page = page_that_says(&server, "login succeeded").await;
    assert!(page.contains("All is well") && page.contains("alice") && page.contains("this one"), "{page}");
    assert!(
        !page.contains("<script") && !page.contains("http://") && !page.contains("https://"),
        "nothing from elsewhere"
    );
}

#[tokio::test]
async fn a_frozen_database_is_told_and_the_page_comes_all_the_same() {
    let (server, proxy) = behind(database().await).await;
    assert!(page(&server).await.contains("All is well"));
    proxy.freeze();
    page_that_says(&server, "Verify refuses").await;
    let page = page_that_says(&server, "The database does not answer</strong>").await;
    assert!(page.contains("Verify refuses") && page.contains("Is the database reachable"), "{page}");
    assert!(page.contains("<p>The database does not answer.</p>"), "what it would have said stands in no table");
    proxy.mend();
    page_that_says(&server, "access token").await;
}

#[tokio::test]
async fn a_replica_that_is_cut_off_is_told_by_the_others() {
    let url = database().await;
    let server = Setup::on(url.clone(), Clock::system()).start().await;
    let (_other, proxy) = behind(url).await;
    proxy.freeze();
    let page = page_that_says(&server, "1 replica has been silent").await;
    assert!(page.contains("silent for") && page.contains("cut off from the database"), "{page}");
}

#[tokio::test]
async fn a_flood_of_logins_is_told() {
    let server = Setup::on(database().await, Clock::system()).start().await;
    for name in 0..100 {
        let login = LoginRequest { username: format!("nobody-{name}"), password: "wrong".into(), ..Default::default() };
        server.auth_client().login(login).await.expect_err("wrong");
    }
    let page = page_that_says(&server, "logins a second are refused").await;
    assert!(page.contains("Somebody guesses passwords"), "{page}");
}

#[tokio::test]
async fn a_damaged_key_is_told() {
    let server = TestServer::start().await;
    let mut sql = PgConnection::connect(&server.database_url).await.expect("connect");
    let damage =
        "UPDATE keys SET sealed_key = sealed_key || 'x'::bytea WHERE stage = 'next' AND purpose = 'access_token'";
    assert_eq!(sql.execute(damage).await.expect("damaged").rows_affected(), 1);
    let restarted = server.replica().await;
    let page = page_that_says(&restarted, "1 stored key cannot be opened").await;
    assert!(page.contains("countersign keys list"), "{page}");
}
