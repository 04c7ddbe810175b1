//! Connections that grow old, and what is said over them.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    domain::connection::ConnectionPolicy,
    grpc::{
        serve_routes,
        v1::{GetJwksRequest, LoginRequest, VerifyBatchRequest, auth_service_client::AuthServiceClient},
    },
    net::{self, Listener, Port, Protocol},
};
use http_body_util::{Full, StreamBody};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
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

/// A port that answers everything in the same way.
struct Answering {
    addr: SocketAddr,
    drain: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Answering {
    async fn with<B>(max_age: Option<Duration>, answer: impl Fn() -> B + Clone + Send + Sync + 'static) -> Self
    where
        B: http_body::Body<Data = bytes::Bytes, Error = Infallible> + Unpin + Send + 'static,
    {
        let listener = Listener::bind("grpc-addr", &"127.0.0.1:0".parse().expect("an address")).await.expect("bound");
        let addr = listener.local_addr().expect("TCP");
        let policy = ConnectionPolicy { max_age, ..ConnectionPolicy::default() };
        let port = Port { policy, ..Port::plaintext(listener, Protocol::Http2) };
        let drain = watch::Sender::new(false);
        let draining = drain.subscribe();
        let service = tower::service_fn(move |_| {
            let answer = http::Response::new(answer());
            async move { Ok::<_, Infallible>(answer) }
        });
        let serving = tokio::spawn(async move { net::serve(port, service, draining).await });
        Self { addr, drain, serving }
    }

    /// Asks, and gives the answer, and a task that ends with the connection.
    async fn ask(&self) -> (h2::client::SendRequest<bytes::Bytes>, h2::RecvStream, JoinHandle<Result<(), h2::Error>>) {
        let socket = TcpStream::connect(self.addr).await.expect("connected");
        let (client, connection) = h2::client::handshake(socket).await.expect("a handshake");
        let closed = tokio::spawn(connection);
        let mut client = client.ready().await.expect("ready");
        let (answer, _) = client.send_request(http::Request::new(()), true).expect("sent");
        (client, answer.await.expect("an answer").into_body(), closed)
    }
}

/// Waits until a connection takes no more requests.
async fn refused(mut client: h2::client::SendRequest<bytes::Bytes>) {
    while let Ok(ready) = client.clone().ready().await {
        client = ready;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_still_being_sent_outlives_the_close_of_its_connection() {
    for max_age in [None, Some(Duration::from_millis(300))] {
        let (say, said) = mpsc::channel(1);
        let said = Arc::new(Mutex::new(Some(said)));
        let server = Answering::with(max_age, move || {
            let said = said.lock().expect("not poisoned").take().expect("asked once");
            StreamBody::new(ReceiverStream::new(said))
        })
        .await;
        let (client, mut body, closed) = server.ask().await;
        let piece = |text: &'static str| Ok(http_body::Frame::data(bytes::Bytes::from_static(text.as_bytes())));
        say.send(piece("one")).await.expect("taken");
        assert_eq!(body.data().await.expect("a piece").expect("its bytes"), "one");
        server.drain.send_replace(max_age.is_none());
        timeout(Duration::from_secs(60), refused(client)).await.expect("it is being closed");
        // Longer than a connection without requests is given to end.
        for_a_while(Duration::from_millis(1500)).await;
        say.send(piece("two")).await.expect("taken");
        drop(say);
        assert_eq!(body.data().await.expect("a piece").expect("its bytes"), "two", "{max_age:?}");
        while let Some(piece) = body.data().await {
            assert_eq!(piece.expect("the end"), "");
        }
        timeout(Duration::from_secs(60), closed).await.expect("it closes").expect("joined").expect("in order");
        server.drain.send_replace(true);
        server.serving.await.expect("stopped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_slowly_is_sent_to_its_end_while_its_connection_closes() {
    const LENGTH: usize = 512 * 1024;
    let answer = || Full::new(bytes::Bytes::from_static(&[7; LENGTH]));
    let server = Answering::with(None, answer).await;
    let (_client, mut body, closed) = server.ask().await;
    server.drain.send_replace(true);
    let mut read = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap_or_else(|error| panic!("after {read} bytes: {error}"));
        read += piece.len();
        body.flow_control().release_capacity(piece.len()).expect("released");
        // All of it takes longer than a connection without requests is given to end.
        for_a_while(Duration::from_millis(80)).await;
    }
    assert_eq!(read, LENGTH);
    timeout(Duration::from_secs(60), closed).await.expect("it closes").expect("joined").expect("in order");
    server.serving.await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_http1_is_bounded() {
    let server = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &[]).await;
    let answer = async |length: usize| {
        let mut http = TcpStream::connect(&server.http_addr).await.expect("connected");
        let header = "y".repeat(length);
        let request = format!("GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {header}\r\n\r\n");
        http.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        // What is not read of it may make the end a reset one.
        drop(http.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(answer(15 * 1024).await.starts_with("HTTP/1.1 200"));
    let refused = answer(17 * 1024).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_is_said_once_though_others_come_between() {
    let settings = ["--max-connections-per-address", "2"];
    let mut server = Process::start(env!("CARGO_BIN_EXE_countersign"), &database().await, &settings).await;
    let addr: SocketAddr = server.grpc_addr.parse().expect("an address");
    let from = async |own: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(own.parse().expect("an address")).expect("bound");
        socket.connect(addr).await.expect("connected")
    };
    let held = [from("127.0.0.1:0").await, from("127.0.0.1:0").await];
    for _ in 0..3 {
        let mut refused = from("127.0.0.1:0").await;
        assert_eq!(refused.read(&mut [0; 16]).await.unwrap_or_default(), 0, "closed");
        let mut other = from("127.0.0.2:0").await;
        other.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
        other.read_exact(&mut [0; 9]).await.expect("it is served");
    }
    server.terminate();
    let lines = server.logged("stopped").await;
    let said = lines.iter().filter(|line| line["message"] == "too many connections: new ones are closed");
    assert_eq!(said.count(), 1, "{lines:?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_end_that_nobody_reads_does_not_hold_up_a_stop_whatever_was_closing_before() {
    for max_age in [None, Some(Duration::from_millis(300))] {
        let piece = || Ok(http_body::Frame::data(bytes::Bytes::from_static(&[7; 16 * 1024])));
        let server =
            Answering::with(max_age, move || StreamBody::new(tokio_stream::iter(std::iter::repeat_with(piece)))).await;
        let (client, body, _closed) = server.ask().await;
        if max_age.is_some() {
            timeout(Duration::from_secs(60), refused(client.clone())).await.expect("it is being closed");
        }
        server.drain.send_replace(true);
        timeout(Duration::from_secs(60), server.serving).await.expect("it stops").expect("joined");
        drop((client, body));
    }
}
