//! TLS of the ports, and certificates of clients.

use std::time::Duration;

use countersign::grpc::v1::{GetJwksRequest, LoginRequest, VerifyRequest, auth_service_client::AuthServiceClient};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code, Status,
    transport::{self, Channel, ClientTlsConfig, Endpoint},
};

use crate::support::{Authority, Certificate, Process, Scratch, database};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
const NAME: &str = "auth.internal";
const CALLER: &str = "spiffe://example.org/ns/shop/sa/checkout";

/// A server that speaks TLS, and whoever issues certificates.
struct Tls {
    servers: Authority,
    clients: Authority,
    certificate: Scratch,
    key: Scratch,
    process: Process,
}

impl Tls {
    async fn start(settings: &[&str]) -> Self {
        let (servers, clients) = (Authority::new(), Authority::new());
        let Certificate { pem, key } = servers.issue(&[NAME]);
        let (certificate, key, client_ca) = (Scratch::of(&pem), Scratch::of(&key), Scratch::of(&clients.pem));
        let files = ["--tls-cert-file", certificate.text(), "--tls-key-file", key.text()];
        let ca = ["--tls-client-ca-file", client_ca.text()];
        let ca = if settings.contains(&"--tls-client-auth") { &ca[..] } else { &[] };
        let settings = [&files[..], ca, settings].concat();
        let process = Process::start(BINARY, &database().await, &settings).await;
        Self { servers, clients, certificate, key, process }
    }

    fn write(&self, Certificate { pem, key }: &Certificate) {
        self.certificate.write(pem);
        self.key.write(key);
    }

    fn endpoint(&self, identity: Option<&Certificate>) -> Endpoint {
        let ca = transport::Certificate::from_pem(&self.servers.pem);
        let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name(NAME);
        if let Some(Certificate { pem, key }) = identity {
            tls = tls.identity(transport::Identity::from_pem(pem, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.process.grpc_addr)).expect("endpoint");
        endpoint.tls_config(tls).expect("configured")
    }

    /// Calls over a connection of its own.
    async fn call(&self, identity: Option<&Certificate>) -> Result<(), Status> {
        let channel = self.endpoint(identity).connect().await;
        let channel: Channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        AuthServiceClient::new(channel).get_jwks(GetJwksRequest::default()).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ports_speak_tls_and_not_plaintext() {
    let server = Tls::start(&[]).await;
    server.call(None).await.expect("over TLS");
    let plain = Endpoint::from_shared(format!("http://{}", server.process.grpc_addr)).expect("endpoint");
    let mut plain = AuthServiceClient::new(plain.connect_lazy());
    assert!(plain.get_jwks(GetJwksRequest::default()).await.is_err(), "in plaintext");
    let mut http = TcpStream::connect(&server.process.http_addr).await.expect("connected");
    http.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    drop(http.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP/1.1"), "an alert of TLS, if anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_may_stay_in_plaintext_for_probes() {
    let server = Tls::start(&["--http-plaintext"]).await;
    let mut http = TcpStream::connect(&server.process.http_addr).await.expect("connected");
    http.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut answer = String::new();
    http.read_to_string(&mut answer).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.call(None).await.expect("over TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_served_with_a_certificate_of_the_client_ca_alone() {
    let server = Tls::start(&["--tls-client-auth", "required"]).await;
    server.call(Some(&server.clients.issue(&[CALLER]))).await.expect("served");
    let expired = server.clients.issue_expired(&[CALLER]);
    let foreign = Authority::new().issue(&[CALLER]);
    for (who, identity) in [("nobody", None), ("expired", Some(&expired)), ("of another CA", Some(&foreign))] {
        server.call(identity).await.expect_err(who);
    }
    let optional = Tls::start(&["--tls-client-auth", "optional"]).await;
    optional.call(Some(&optional.clients.issue(&[CALLER]))).await.expect("served");
    let nobody = optional.call(None).await.expect_err("without a name");
    assert_eq!(nobody.code(), Code::PermissionDenied, "it comes in, and may do nothing");
    assert_ne!(optional.call(Some(&foreign)).await.expect_err("not valid").code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_who_its_certificate_says() {
    let policy = Scratch::of(&format!(
        "[[callers]]\nid = \"{CALLER}\"\nrpcs = [\"Login\"]\n\n[[callers]]\nid = \"dns:jobs.internal\"\nrpcs = [\"GetJwks\"]\n"
    ));
    let server = Tls::start(&["--tls-client-auth", "required", "--policy-file", policy.text()]).await;
    for (names, jwks, login) in [
        (&[CALLER][..], Code::PermissionDenied, Code::Unauthenticated),
        (&["jobs.internal"], Code::Ok, Code::PermissionDenied),
        (&[CALLER, "spiffe://example.org/ns/shop/sa/other"], Code::PermissionDenied, Code::PermissionDenied),
        (&[CALLER, "jobs.internal"], Code::PermissionDenied, Code::Unauthenticated),
        (&["spiffe://example.org/ns/else"], Code::PermissionDenied, Code::PermissionDenied),
        (&[], Code::PermissionDenied, Code::PermissionDenied),
    ] {
        let identity = server.clients.issue(names);
        let channel = server.endpoint(Some(&identity)).connect().await.expect("connected");
        let mut client = AuthServiceClient::new(channel);
        let asked = client.get_jwks(GetJwksRequest::default()).await;
        assert_eq!(asked.map_or_else(|status| status.code(), |_| Code::Ok), jwks, "{names:?}");
        let request = LoginRequest { username: "nobody".to_owned(), password: "x".repeat(20), ..Default::default() };
        assert_eq!(client.login(request).await.expect_err("no such user").code(), login, "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_rotate_under_load_and_no_call_fails() {
    let mut server = Tls::start(&[]).await;
    let standing = AuthServiceClient::new(server.endpoint(None).connect().await.expect("connected"));
    let verify = |mut client: AuthServiceClient<Channel>| async move {
        let request = VerifyRequest { access_token: "none".to_owned(), ..Default::default() };
        client.verify(request).await.expect_err("no token").code()
    };
    for _ in 0..3 {
        let fresh = server.servers.issue(&[NAME]);
        server.write(&fresh);
        server.process.hang_up();
        for _ in 0..20 {
            server.call(None).await.expect("a new connection");
            assert_eq!(verify(standing.clone()).await, Code::Unauthenticated, "the standing connection");
        }
        server.process.logged("read the certificate and its key").await;
    }
    // Its issuer is another one: only the new certificate passes for it.
    let issuer = Authority::new();
    server.write(&issuer.issue(&[NAME]));
    server.process.logged("read the certificate and its key").await;
    server.call(None).await.expect_err("the old issuer");
    server.servers = issuer;
    server.call(None).await.expect("the new issuer, without a signal");
    assert_eq!(verify(standing).await, Code::Unauthenticated, "what was agreed on before");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_change_nothing_and_are_said() {
    let mut server = Tls::start(&[]).await;
    let (one, other) = (server.servers.issue(&[NAME]), server.servers.issue(&[NAME]));
    for (pem, key, said) in [
        (&*one.pem, &*other.key, "the key and the certificate"),
        ("no certificate", &*one.key, "expected certificates in PEM"),
        (&*one.pem, "no key", "expected a private key in PEM"),
    ] {
        server.certificate.write(pem);
        server.key.write(key);
        server.process.hang_up();
        let lines = server.process.logged(KEPT).await;
        let error = lines.last().expect("a line")["error"].as_str().expect("text").to_owned();
        assert!(error.contains(said), "{error}");
        server.call(None).await.expect("the certificate of before");
    }
    // One file before the other, without a signal.
    server.certificate.write(&other.pem);
    server.key.write(&other.key);
    server.process.logged("read the certificate and its key").await;
    server.call(None).await.expect("served");
}

const KEPT: &str = "the files of TLS cannot be used: what they held before stays in force";

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_take_no_turn_in_a_handshake() {
    let server = Tls::start(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(TcpStream::connect(&server.process.grpc_addr).await.expect("connected"));
    }
    timeout(Duration::from_secs(5), server.call(None)).await.expect("in time").expect("served");
}
