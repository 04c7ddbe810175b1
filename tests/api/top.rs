//! `countersign top`: what servers do, on a terminal or as text.

use std::{
    env,
    process::{Command, Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::timeout,
};

use crate::support::{Authority, Process, Scratch, Setup, TestServer, database};

/// A picture of these URLs, with settings: the exit code, and what was printed.
async fn picture(urls: &[&str], settings: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERSIGN_")) {
        command.env_remove(name);
    }
    command.args(["top", "--interval", "500ms"]).args(settings).args(urls).stdin(Stdio::null());
    let (sender, output) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || drop(sender.send(command.output().expect("it runs"))));
    let Output { status, stdout, stderr } = output.await.expect("it ends");
    (status.code(), String::from_utf8([stdout, stderr].concat()).expect("text"))
}

fn url(server: &TestServer) -> String {
    format!("http://{}", server.http_addr)
}

/// What a server does after its answer.
#[derive(Clone, Copy)]
enum Then {
    Closes,
    Waits,
    GoesOn,
}

/// A server that gives each request this answer.
async fn stranger(answer: &'static [u8], then: Then) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                drop(socket.read(&mut [0; 4096]).await);
                drop(socket.write_all(answer).await);
                match then {
                    Then::Closes => {}
                    Then::Waits => drop(socket.read(&mut [0; 1]).await),
                    Then::GoesOn => while socket.write_all(answer).await.is_ok() {},
                }
            });
        }
    });
    url
}

/// The line that begins so, its words with one space between them.
fn line(text: &str, begins: &str) -> String {
    let line = text.lines().find(|line| line.trim_start().starts_with(begins));
    line.unwrap_or_else(|| panic!("{begins}: {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_what_happens_between_two_looks_of_all_replicas_together() {
    let server = Setup::new().await.start().await;
    let other = server.replica().await;
    let alice = server.user("alice").await;
    let tokens = alice.login().await;
    let there = alice.at(&other);
    let verifying = tokio::spawn(async move {
        loop {
            there.verify(&tokens.access_token).await.expect("valid");
            there.login().await;
        }
    });
    let database = ["--database-url", server.database_url.as_str()];
    // On a busy machine a login takes longer than the time between two looks.
    let busy = async {
        loop {
            let (code, text) = picture(&[&url(&server), &url(&other)], &database).await;
            if text.contains("login ok") && text.contains("token valid") {
                return (code, text);
            }
        }
    };
    let (code, text) = timeout(Duration::from_secs(120), busy).await.expect("a picture with both");
    verifying.abort();
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains('\x1b'), "no escape codes: {text}");
    let verified = line(&text, "Verify");
    let rate: f64 = verified.split(' ').nth(1).and_then(|rate| rate.parse().ok()).expect("a rate");
    assert!(rate > 0.0, "{verified}");
    for server in [&server, &other] {
        let row = line(&text, &server.http_addr.to_string());
        assert!(row.contains(env!("CARGO_PKG_VERSION")) && row.ends_with("fresh"), "{row}");
    }
    assert!(!text.contains("at none of the URLs"), "both are named: {text}");
    assert!(text.contains("login succeeded") && text.contains("alice"), "{text}");
    assert!(text.contains("access token") && text.contains("active"), "keys: {text}");
    // One of them alone, and no database.
    let (code, text) = picture(&[&url(&server)], &[]).await;
    assert!(code == Some(0) && text.contains("--database-url") && !text.contains("alice"), "{text}");
    let (_, text) = picture(&[&url(&server)], &database).await;
    assert!(text.contains("at none of the URLs"), "the other one is on the list: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_gives_no_metrics_is_a_row_that_says_why() {
    let server = Setup::new().await.start().await;
    let refused = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let refused = format!("http://{refused}");
    for (stranger, says) in [
        (refused.clone(), "refused the connection"),
        (
            stranger(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Then::Closes).await,
            "COUNTERSIGN_METRICS_ADDR",
        ),
        (
            stranger(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", Then::Closes).await,
            "is not ready",
        ),
        (
            stranger(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ngarbage", Then::Closes).await,
            "tells no metrics of Countersign",
        ),
        (stranger(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xff", Then::Closes).await, "not in UTF-8"),
        (stranger(b"SSH-2.0-OpenSSH_9.2\r\n", Then::Closes).await, "127.0.0.1"),
        (stranger(b"", Then::Waits).await, "did not answer in time"),
        (stranger(b"HTTP/1.1 200 OK\r\n\r\n# padding\n", Then::GoesOn).await, "longer than 4 MiB"),
    ] {
        let (code, text) = picture(&[&stranger, &url(&server)], &[]).await;
        let row = line(&text, stranger.trim_start_matches("http://"));
        assert!(code == Some(0) && row.contains(says), "{row}");
        assert!(line(&text, &server.http_addr.to_string()).ends_with("fresh"), "the other one is shown");
    }
    let (code, text) = picture(&[&refused], &["--database-url", "postgres://nobody@127.0.0.1:1/none"]).await;
    assert_eq!(code, Some(1), "nobody answered: {text}");
    assert!(text.contains("127.0.0.1:1 refused the connection"), "the database neither: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_used_are_named() {
    for (settings, says) in [
        (&["--interval", "1ms"][..], "interval: "),
        (&["--ca-file", "/no/such/file"], "ca-file: /no/such/file"),
        (&["ftp://a"], "url: http(s)://HOST[:PORT]/PATH"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign")).arg("top").args(settings).output();
        let Output { status, stderr, .. } = output.expect("it runs");
        let said = String::from_utf8(stderr).expect("text");
        assert!(status.code() == Some(1) && said.contains(says), "{settings:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_at_https_is_trusted_by_its_ca_or_because_it_is_on_this_machine() {
    let authority = Authority::new();
    let made = authority.issue(&["127.0.0.1"]);
    let (certificate, key) = (Scratch::of(&made.pem), Scratch::of(&made.key));
    let (ca, other_ca) = (Scratch::of(&authority.pem), Scratch::of(&Authority::new().pem));
    let settings = ["--tls-cert-file", certificate.text(), "--tls-key-file", key.text()];
    let process = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let url = format!("https://{}", process.http_addr);
    for (trust, expected) in
        [(&["--ca-file", ca.text()][..], 0), (&["--tls-no-verify"], 0), (&["--ca-file", other_ca.text()], 1)]
    {
        let (code, text) = picture(&[&url], trust).await;
        assert_eq!(code, Some(expected), "{trust:?}: {text}");
    }
}

/// Metrics on a port of their own are not on the other one; and a process that hangs is a row.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_replica_tells_its_metrics_on_their_own_port_alone_until_it_hangs() {
    let settings = ["--metrics-addr", "127.0.0.1:0"];
    let process = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let metrics = process.start.iter().find_map(|line| line["metrics"].as_str()).expect("a port");
    let [own, main] = [metrics, &process.http_addr].map(|addr| format!("http://{addr}"));
    let (code, text) = picture(&[&own, &main], &[]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(line(&text, &format!("{metrics} ")).ends_with("fresh"), "{text}");
    assert!(line(&text, &process.http_addr).contains("COUNTERSIGN_METRICS_ADDR"), "{text}");
    process.pause();
    let (code, text) = picture(&[&own], &[]).await;
    assert_eq!((code, line(&text, metrics)), (Some(1), format!("{metrics} did not answer in time")), "{text}");
}
