//! Starts and stops: what probes, callers and orchestrators see of them.

use std::{path::PathBuf, process::Command, time::Duration};

use countersign::grpc::v1::{
    GetJwksRequest, ImportUsersRequest, ListUsersRequest, WatchRevocationsRequest,
    auth_service_client::AuthServiceClient, user_service_client::UserServiceClient,
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixDatagram, UnixStream},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};

use crate::support::{ADMIN_TOKEN, Process, Proxy, Scratch, administering, database, for_a_while, refusal};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// The status line of an answer, or nothing if the port does not answer.
async fn get(addr: &str, path: &str) -> String {
    let asked = async {
        let mut http = TcpStream::connect(addr).await?;
        http.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        http.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    asked.await.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

async fn until_ready_is(addr: &str, status: &str) {
    while !get(addr, "/readyz").await.contains(status) {
        for_a_while(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_to_stop_says_so_and_serves_on_until_that_has_spread() {
    let mut server = Process::start(BINARY, &database().await, &["--lame-duck", "10m"]).await;
    let mut standing = HealthClient::new(server.channel());
    let mut watch = standing.watch(HealthCheckRequest::default()).await.expect("watched").into_inner();
    let mut status = async || watch.message().await.expect("a message").expect("it goes on").status();
    while status().await != ServingStatus::Serving {}
    assert!(get(&server.http_addr, "/readyz").await.contains("200"));
    server.terminate();
    assert_eq!(status().await, ServingStatus::NotServing, "at once");
    until_ready_is(&server.http_addr, "503").await;
    assert!(get(&server.http_addr, "/livez").await.contains("200"));
    let fresh = Endpoint::from_shared(format!("http://{}", server.grpc_addr)).expect("endpoint");
    let fresh = fresh.connect().await.expect("new connections are accepted");
    AuthServiceClient::new(fresh).get_jwks(GetJwksRequest::default()).await.expect("and served");
    AuthServiceClient::new(server.channel()).get_jwks(GetJwksRequest::default()).await.expect("served on");
    server.terminate();
    assert!(server.ended().await, "at the second signal, long before its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_does_not_hold_up_a_stop() {
    let token = Scratch::of(ADMIN_TOKEN);
    let settings = ["--drain-timeout", "10m", "--admin-token-file", token.text()];
    let mut server = Process::start(BINARY, &database().await, &settings).await;
    let silent = TcpStream::connect(&server.grpc_addr).await.expect("connected");
    let mut half = TcpStream::connect(&server.http_addr).await.expect("connected");
    half.write_all(b"GET /livez HTTP/1.1\r\nhos").await.expect("sent");
    let mut preface = TcpStream::connect(&server.grpc_addr).await.expect("connected");
    preface.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut health = HealthClient::new(server.channel());
    let mut watched = health.watch(HealthCheckRequest::default()).await.expect("watched").into_inner();
    watched.message().await.expect("a message");
    let mut revocations = AuthServiceClient::new(server.channel())
        .watch_revocations(WatchRevocationsRequest::default())
        .await
        .expect("watched")
        .into_inner();
    revocations.message().await.expect("a message");
    let (ask, asked) = mpsc::channel(1);
    let everything = Some(MessageRequest::ListServices(String::new()));
    ask.send(ServerReflectionRequest { message_request: everything, ..Default::default() }).await.expect("sent");
    let mut reflection = ServerReflectionClient::new(server.channel());
    let mut reflected =
        reflection.server_reflection_info(ReceiverStream::new(asked)).await.expect("reflected").into_inner();
    reflected.message().await.expect("a message");
    let (import, imported) = mpsc::channel(1);
    import.send(ImportUsersRequest::default()).await.expect("sent");
    let mut users = UserServiceClient::new(server.channel());
    let importing = tokio::spawn(async move { users.import_users(administering(ReceiverStream::new(imported))).await });
    // The first message has been taken when there is room for a second one.
    import.send(ImportUsersRequest::default()).await.expect("sent");
    import.send(ImportUsersRequest::default()).await.expect("sent");
    server.terminate();
    assert!(server.ended().await);
    importing.await.expect("joined").expect_err("it was cut off");
    drop((silent, half, preface, watched, ask, import));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_its_database_and_says_so() {
    let proxy = Proxy::before(&database().await);
    proxy.cut();
    let mut server = Process::launch(Command::new(BINARY), &proxy.url(), &["--http-addr", "127.0.0.1:0"], &[]);
    let lines = server.logged("waiting for the database").await;
    let listening = lines.iter().find(|line| line["message"] == "listening").expect("before");
    let http = listening["http"].as_str().expect("an address").to_owned();
    assert!(get(&http, "/livez").await.contains("200"));
    assert!(get(&http, "/readyz").await.contains("503"));
    assert!(get(&http, "/.well-known/jwks.json").await.contains("503"));
    proxy.mend();
    server.logged("serving").await;
    until_ready_is(&http, "200").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_not_to_wait_ends() {
    let proxy = Proxy::before(&database().await);
    proxy.cut();
    let mut server = Process::launch(Command::new(BINARY), &proxy.url(), &["--database-wait", "0s"], &[]);
    assert!(!server.ended().await);
    let mut server = Process::launch(Command::new(BINARY), &proxy.url(), &[], &[]);
    server.logged("waiting for the database").await;
    server.terminate();
    assert!(server.ended().await, "a signal ends the wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_served() {
    let path = std::env::temp_dir().join(format!("countersign-stopping-{}.sock", std::process::id()));
    let addr = format!("unix:{}", path.display());
    let server = Process::start(BINARY, &database().await, &["--grpc-addr", &addr]).await;
    assert_eq!(server.grpc_addr, addr);
    let connect = tower::service_fn(move |_| {
        let path: PathBuf = path.clone();
        async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connect).await.expect("connected");
    AuthServiceClient::new(channel).get_jwks(GetJwksRequest::default()).await.expect("served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_file_descriptors_left_says_so_once_and_serves_again_later() {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n 96; exec {BINARY} \"$@\""), "sh"]);
    let mut server = Process::launch(limited, &database().await, &[], &[]);
    let said = server.logged("serving").await;
    let addr = said.last().expect("a line")["grpc"].as_str().expect("an address").to_owned();
    let mut idle = Vec::new();
    for _ in 0..128 {
        idle.push(TcpStream::connect(&addr).await.expect("the system takes it"));
    }
    server.logged("connections cannot be accepted; trying again").await;
    drop(idle);
    let said = server.logged("connections are accepted again").await;
    let again =
        said.iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains("cannot be accepted")));
    assert_eq!(again.count(), 0, "once");
    let channel =
        Endpoint::from_shared(format!("http://{addr}")).expect("endpoint").connect().await.expect("connected");
    AuthServiceClient::new(channel).get_jwks(GetJwksRequest::default()).await.expect("served");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_closed_and_those_there_are_served_on() {
    let mut server = Process::start(BINARY, &database().await, &["--max-connections", "3"]).await;
    let mut standing = AuthServiceClient::new(server.channel());
    standing.get_jwks(GetJwksRequest::default()).await.expect("served");
    let mut others = Vec::new();
    for _ in 0..2 {
        others.push(TcpStream::connect(&server.grpc_addr).await.expect("connected"));
    }
    let mut closed = TcpStream::connect(&server.grpc_addr).await.expect("the system takes it");
    assert_eq!(closed.read(&mut [0; 16]).await.unwrap_or_default(), 0, "and it is closed");
    server.logged("too many connections: new ones are closed").await;
    standing.get_jwks(GetJwksRequest::default()).await.expect("served on");
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_may_have_a_port_of_their_own() {
    let token = Scratch::of(ADMIN_TOKEN);
    let settings = ["--admin-addr", "127.0.0.1:0", "--admin-token-file", token.text()];
    let server = Process::start(BINARY, &database().await, &settings).await;
    let admin = server.start.last().expect("a line")["admin"].as_str().expect("an address").to_owned();
    let admin = Endpoint::from_shared(format!("http://{admin}")).expect("endpoint").connect_lazy();
    let list = || administering(ListUsersRequest::default());
    UserServiceClient::new(admin.clone()).list_users(list()).await.expect("administered");
    AuthServiceClient::new(admin).get_jwks(GetJwksRequest::default()).await.expect("everything is there");
    let refused = UserServiceClient::new(server.channel()).list_users(list()).await.expect_err("not there");
    assert_eq!(refused.code(), Code::Unimplemented);
    AuthServiceClient::new(server.channel()).get_jwks(GetJwksRequest::default()).await.expect("served");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_token_changes_with_its_file() {
    let token = Scratch::of(ADMIN_TOKEN);
    let mut server = Process::start(BINARY, &database().await, &["--admin-token-file", token.text()]).await;
    let mut users = UserServiceClient::new(server.channel());
    let mut list = async || users.list_users(administering(ListUsersRequest::default())).await.map(drop);
    list().await.expect("administered");
    token.write("too short");
    server.logged("the administrators' token cannot be used: that of before stays in force").await;
    list().await.expect("that of before");
    token.write("\u{feff}another-token-of-administrators-of-some-length\r\n");
    server.logged("read the administrators' token").await;
    assert_eq!(list().await.expect_err("no more").code(), Code::PermissionDenied);
    token.write(ADMIN_TOKEN);
    server.hang_up();
    server.logged("read the administrators' token").await;
    list().await.expect("administered again");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_when_a_server_is_ready_and_when_it_stops() {
    let path = std::env::temp_dir().join(format!("countersign-notify-{}.sock", std::process::id()));
    let socket = UnixDatagram::bind(&path).expect("bound");
    let variables = [("NOTIFY_SOCKET", path.to_str().expect("text"))];
    let mut server = Process::start_with(BINARY, &database().await, &[], &variables).await;
    let told = async || {
        let mut message = [0; 256];
        let length = socket.recv(&mut message).await.expect("told");
        String::from_utf8_lossy(&message[..length]).trim().to_owned()
    };
    assert_eq!(told().await, "READY=1");
    server.terminate();
    assert_eq!(told().await, "STOPPING=1");
    assert!(server.ended().await);
    std::fs::remove_file(path).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_nobody_reads_do_not_hold_up_a_stop() {
    let mut server = Process::start(BINARY, &database().await, &["--drain-timeout", "10m"]).await;
    let socket = TcpStream::connect(&server.grpc_addr).await.expect("connected");
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake(socket).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.expect("ready");
    let mut unread = Vec::new();
    for path in ["grpc.health.v1.Health/Watch", "countersign.v1.AuthService/WatchRevocations"] {
        let request = http::Request::post(format!("http://a/{path}")).header("content-type", "application/grpc");
        let request = request.body(()).expect("a request");
        let (answer, mut body) = client.send_request(request, false).expect("sent");
        body.send_data(bytes::Bytes::from_static(&[0; 5]), true).expect("sent");
        unread.push(answer.await.expect("it begins"));
    }
    server.terminate();
    assert!(server.ended().await);
    drop((unread, connection));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_port_is_taken_leaves_the_list_of_replicas_at_once() {
    let url = database().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = taken.local_addr().expect("an address").to_string();
    let mut listed = PgConnection::connect(&url).await.expect("connected");
    // What was ever on the list is seen, too.
    listed
        .execute(
            "CREATE TABLE listed (id uuid); \
             CREATE FUNCTION list() RETURNS trigger LANGUAGE plpgsql AS \
               'BEGIN INSERT INTO listed VALUES (NEW.id); RETURN NEW; END'; \
             CREATE TRIGGER list AFTER INSERT ON replicas FOR EACH ROW EXECUTE FUNCTION list()",
        )
        .await
        .expect("watched");
    let mut server = Process::launch(Command::new(BINARY), &url, &["--grpc-addr", &addr], &[]);
    assert!(!server.ended().await);
    let counted = "SELECT (SELECT count(*) FROM listed), (SELECT count(*) FROM replicas)";
    let (before, now): (i64, i64) = sqlx::query_as(counted).fetch_one(&mut listed).await.expect("counted");
    assert!(before > 0 && now == 0, "{before} were on it, {now} are");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_bound_on_streams_of_health_and_of_reflection() {
    const OF_ONE_ADDRESS: usize = 1024;
    let server = Process::start(BINARY, &database().await, &[]).await;
    let (mut health, mut reflection, mut asking) = (Vec::new(), Vec::new(), Vec::new());
    let (mut no_health, mut no_reflection) = (None, None);
    while no_health.is_none() || no_reflection.is_none() {
        let channel = Endpoint::from_shared(format!("http://{}", server.grpc_addr)).expect("endpoint");
        let channel = channel.connect().await.expect("connected");
        let mut watching = HealthClient::new(channel.clone());
        let mut reflecting = ServerReflectionClient::new(channel);
        for _ in 0..100 {
            match watching.watch(HealthCheckRequest::default()).await {
                Ok(stream) => health.push(stream),
                refused => no_health = Some(refusal(refused.map(drop))),
            }
            let (ask, asked) = mpsc::channel::<ServerReflectionRequest>(1);
            asking.push(ask);
            match reflecting.server_reflection_info(ReceiverStream::new(asked)).await {
                Ok(stream) => reflection.push(stream),
                refused => no_reflection = Some(refusal(refused.map(drop))),
            }
        }
    }
    assert_eq!((health.len(), reflection.len()), (OF_ONE_ADDRESS, OF_ONE_ADDRESS));
    let overloaded = Some((Code::ResourceExhausted, "OVERLOADED".to_owned()));
    assert_eq!((&no_health, &no_reflection), (&overloaded, &overloaded));
    AuthServiceClient::new(server.channel()).get_jwks(GetJwksRequest::default()).await.expect("calls are served");
    health.clear();
    let mut again = HealthClient::new(server.channel());
    let again = async { while again.check(HealthCheckRequest::default()).await.is_err() {} };
    timeout(Duration::from_secs(60), again).await.expect("there is room again");
}
