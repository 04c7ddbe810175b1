//! Connections that grow old, and what is said over them.

use std::time::Duration;

use countersign::{
    domain::connection::ConnectionPolicy,
    grpc::{
        serve_routes,
        v1::{GetJwksRequest, LoginRequest, VerifyBatchRequest, auth_service_client::AuthServiceClient},
    },
    net::{Listener, Port, Protocol},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tonic::{codec::CompressionEncoding, service::Routes};
use tonic_health::{ServingStatus, server::health_reporter};

use crate::support::{PASSWORD, Process, TestServer, database, for_a_while, violations};

/// A request of health over h2 itself, whose connection can be seen to close.
fn watch_health() -> http::Request<()> {
    let request = http::Request::post("http://a/grpc.health.v1.Health/Watch");
    request.header("content-type", "application/grpc").header("te", "trailers").body(()).expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_takes_no_more_requests_and_finishes_those_that_it_has() {
    let (reporter, health) = health_reporter();
    let listener = Listener::bind("grpc-addr", &"127.0.0.1:0".parse().expect("an address")).await.expect("bound");
    let addr = listener.local_addr().expect("TCP");
    let policy = ConnectionPolicy { max_age: Some(Duration::from_millis(300)), ..ConnectionPolicy::default() };
    let port = Port { policy, ..Port::plaintext(listener, Protocol::Http2) };
    let drain = watch::Sender::new(false);
    let draining = drain.subscribe();
    let serving = tokio::spawn(async move { serve_routes(port, Routes::new(health), draining).await });
    let socket = TcpStream::connect(addr).await.expect("connected");
    let (client, connection) = h2::client::handshake(socket).await.expect("a handshake");
    let closed = tokio::spawn(connection);
    let mut client = client.ready().await.expect("it is young");
    let (answer, mut request) = client.send_request(watch_health(), false).expect("sent");
    request.send_data(bytes::Bytes::from_static(&[0; 5]), true).expect("sent");
    let mut body = answer.await.expect("an answer").into_body();
    body.data().await.expect("a message").expect("its bytes");
    let refused = async {
        let mut client = client;
        while let Ok(ready) = client.clone().ready().await {
            client = ready;
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), refused).await.expect("it takes no more requests");
    reporter.set_service_status("", ServingStatus::NotServing).await;
    body.data().await.expect("the stream goes on").expect("its bytes");
    drop((body, request));
    timeout(Duration::from_secs(60), closed).await.expect("it closes when nothing is under way").expect("joined").ok();
    drain.send_replace(true);
    serving.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_may_be_compressed_and_count_inflated() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let mut client = server.auth_client().send_compressed(CompressionEncoding::Gzip);
    let request = LoginRequest { username: alice.name, password: PASSWORD.to_owned(), ..Default::default() };
    client.login(request).await.expect("read");
    let bomb = VerifyBatchRequest { access_tokens: vec!["x".repeat(8 << 20)], ..Default::default() };
    assert_eq!(violations(client.verify_batch(bomb).await), ["request"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_speaks_grpc_web_if_it_is_told_to() {
    const CALL: &str = "POST /countersign.v1.AuthService/GetJwks HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
        content-type: application/grpc-web\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0";
    let ask = async |settings: &[&str]| {
        let server = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, settings).await;
        let mut client = AuthServiceClient::new(server.channel());
        client.get_jwks(GetJwksRequest::default()).await.expect("gRPC goes on");
        let mut socket = TcpStream::connect(&server.grpc_addr).await.expect("connected");
        socket.write_all(CALL.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        drop(socket.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = ask(&["--grpc-web"]).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status:0"), "{answer}");
    let answer = ask(&[]).await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
}

/// A connection that was idle for longer than it is given to confirm its end is told of it, and answered what it had sent before.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_told_that_it_ends_and_may_confirm_it() {
    let (_reporter, health) = health_reporter();
    let listener = Listener::bind("grpc-addr", &"127.0.0.1:0".parse().expect("an address")).await.expect("bound");
    let addr = listener.local_addr().expect("TCP");
    let drain = watch::Sender::new(false);
    let draining = drain.subscribe();
    let port = Port::plaintext(listener, Protocol::Http2);
    let serving = tokio::spawn(async move { serve_routes(port, Routes::new(health), draining).await });
    let mut socket = TcpStream::connect(addr).await.expect("connected");
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut begin = [0; 9];
    socket.read_exact(&mut begin).await.expect("its settings");
    for_a_while(Duration::from_millis(1500)).await;
    drain.send_replace(true);
    let mut said = Vec::new();
    timeout(Duration::from_secs(60), socket.read_to_end(&mut said)).await.expect("it ends").expect("in order");
    let goaway = said.windows(9).any(|frame| frame[3] == 7 && frame[5..] == [0; 4]);
    assert!(goaway, "{said:?}");
    serving.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_never_whole_does_not_hold_up_a_stop() {
    let settings = ["--drain-timeout", "10m"];
    let mut server = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let socket = TcpStream::connect(&server.grpc_addr).await.expect("connected");
    let (client, connection) = h2::client::handshake(socket).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.expect("ready");
    let request =
        http::Request::post("http://a/grpc.health.v1.Health/Check").header("content-type", "application/grpc");
    let sent = client.send_request(request.body(()).expect("a request"), false).expect("sent");
    AuthServiceClient::new(server.channel()).get_jwks(GetJwksRequest::default()).await.expect("served");
    server.terminate();
    assert!(server.ended().await);
    drop((sent, connection));
}
