//! What comes over the wire: standard services, bytes that are no message, deadlines, HTTP.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use countersign::grpc::v1::{LoginRequest, LoginResponse, VerifyRequest};
use http::{HeaderMap, Request};
use prost::Message as _;
use sqlx::{Connection as _, Executor as _};
use tokio::net::TcpStream;
use tonic::{Code, Status, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_prost::ProstCodec;
use tonic_reflection::pb;

use crate::support::{PASSWORD, Proxy, Setup, TestServer, refusal, somebody_waits, violations};

const LOGIN: &str = "/countersign.v1.AuthService/Login";

/// A LoginRequest whose strings may be any bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct RawLogin {
    #[prost(bytes = "vec", tag = "1")]
    username: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    password: Vec<u8>,
}

async fn send_raw(server: &TestServer, username: &[u8], password: &[u8]) -> Result<LoginResponse, Status> {
    let mut grpc = Grpc::new(server.channel());
    grpc.ready().await.expect("ready");
    let raw = RawLogin { username: username.into(), password: password.into() };
    let codec = ProstCodec::<RawLogin, LoginResponse>::default();
    let path = PathAndQuery::from_static(LOGIN);
    grpc.unary(tonic::Request::new(raw), path, codec).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn bytes_that_are_no_message_are_an_invalid_argument() {
    let server = TestServer::start().await;
    server.user("alice").await;
    send_raw(&server, b"alice", PASSWORD.as_bytes()).await.expect("these are a message");
    for (username, password) in [(&b"\xff\xfe"[..], &b"x"[..]), (b"alice", b"\xc3\x28")] {
        assert_eq!(violations(send_raw(&server, username, password).await), ["request"]);
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_an_invalid_argument() {
    let server = TestServer::start().await;
    let access_token = "x".repeat(2 * 1024 * 1024);
    let request = VerifyRequest { access_token, ..Default::default() };
    assert_eq!(violations(server.auth_client().verify(request).await), ["request"]);
}

/// Sends a body to Login over bare HTTP/2, because tonic's client would end the call at the deadline itself and sends
/// well-formed bodies only.
async fn post(addr: SocketAddr, timeout: &str, frame: &[u8]) -> HeaderMap {
    let stream = TcpStream::connect(addr).await.expect("connect");
    let (client, connection) = h2::client::handshake(stream).await.expect("handshake");
    let connection = tokio::spawn(connection);
    let headers = Request::post(format!("http://{addr}{LOGIN}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", timeout)
        .body(())
        .expect("request");
    let mut client = client.ready().await.expect("ready");
    let (answer, mut body) = client.send_request(headers, false).expect("sent");
    body.send_data(Bytes::copy_from_slice(frame), true).expect("sent");
    let answer = answer.await.expect("an answer");
    connection.abort();
    answer.headers().clone()
}

#[tokio::test]
async fn a_deadline_of_one_millisecond_is_answered_deadline_exceeded() {
    let mut setup = Setup::new().await;
    let proxy = Proxy::before(&setup.database_url);
    setup.database_url = proxy.url();
    let server = setup.start().await;
    proxy.freeze();
    let request = LoginRequest { username: "alice".into(), password: PASSWORD.into(), ..Default::default() };
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(request.encoded_len()).expect("small"));
    request.encode(&mut frame).expect("encoded");
    let headers = post(server.grpc_addr, "1m", &frame).await;
    let status = Status::from_header_map(&headers).expect("a status");
    let expected = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned());
    assert_eq!(refusal::<()>(Err(status)), expected);
}

#[tokio::test]
async fn a_body_without_the_framing_of_grpc_is_an_invalid_argument() {
    let server = TestServer::start().await;
    for frame in [&b""[..], b"\x01\0\0\0\x01x", b"\x09\0\0\0\x01x", b"\0\xff\xff\xff\xff"] {
        let headers = post(server.grpc_addr, "9S", frame).await;
        let status = Status::from_header_map(&headers).expect("a status");
        assert_eq!(violations::<()>(Err(status)), ["request"], "{frame:?}");
    }
}

#[tokio::test]
async fn health_says_serving_once_revocations_are_known() {
    let server = TestServer::start().await;
    for service in ["", "countersign.v1.AuthService", "countersign.v1.UserService"] {
        let request = HealthCheckRequest { service: service.into() };
        let mut health = HealthClient::new(server.channel());
        let mut changes = health.watch(request).await.expect("watching").into_inner();
        loop {
            let change = changes.message().await.expect("a change").expect("no end");
            if change.status() == ServingStatus::Serving {
                break;
            }
        }
    }
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let server = TestServer::start().await;
    let request = pb::v1::ServerReflectionRequest {
        message_request: Some(pb::v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut v1 = pb::v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let mut answers = v1.server_reflection_info(tokio_stream::once(request)).await.expect("answered").into_inner();
    let answer = format!("{:?}", answers.message().await.expect("an answer"));
    let alpha = pb::v1alpha::ServerReflectionRequest {
        message_request: Some(pb::v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut v1alpha = pb::v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel());
    let mut answers = v1alpha.server_reflection_info(tokio_stream::once(alpha)).await.expect("answered").into_inner();
    let alpha = format!("{:?}", answers.message().await.expect("an answer"));
    for service in ["countersign.v1.AuthService", "countersign.v1.UserService", "grpc.health.v1.Health"] {
        assert!(answer.contains(service) && alpha.contains(service), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_lets_its_calls_end_and_leaves_the_list_of_replicas() {
    let server = TestServer::start().await;
    let alice = server.user("alice").await;
    let url = server.database_url.clone();
    let mut blocker = sqlx::PgConnection::connect(&url).await.expect("connect");
    blocker.execute("BEGIN; SELECT FROM users FOR UPDATE").await.expect("locked");
    let login = tokio::spawn(async move { alice.login_with(PASSWORD).await });
    somebody_waits(&url).await;
    let mut health = HealthClient::new(server.channel());
    let stop = tokio::spawn(server.stop());
    // Until it says NOT_SERVING, or takes no call any more.
    while let Ok(answer) = health.check(HealthCheckRequest::default()).await {
        if answer.into_inner().status() == ServingStatus::NotServing {
            break;
        }
    }
    blocker.execute("COMMIT").await.expect("released");
    login.await.expect("joined").expect("the call under way ends well");
    stop.await.expect("joined").expect("a clean stop");
    let replicas: i64 =
        sqlx::query_scalar("SELECT count(*) FROM replicas").fetch_one(&mut blocker).await.expect("counted");
    assert_eq!(replicas, 0);
}
