//! TLS of the ports, and certificates of clients.

use std::{
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use countersign::grpc::v1::{GetJwksRequest, LoginRequest, VerifyRequest, auth_service_client::AuthServiceClient};
use countersign_client::{Endpoints, Fallback, Verifier};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        version::{TLS12, TLS13},
    },
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

    fn tls(&self, identity: Option<&Certificate>) -> ClientTlsConfig {
        let ca = transport::Certificate::from_pem(&self.servers.pem);
        let tls = ClientTlsConfig::new().ca_certificate(ca).domain_name(NAME);
        match identity {
            Some(Certificate { pem, key }) => tls.identity(transport::Identity::from_pem(pem, key)),
            None => tls,
        }
    }

    fn endpoint(&self, identity: Option<&Certificate>) -> Endpoint {
        let tls = self.tls(identity);
        let endpoint = Endpoint::from_shared(format!("https://{}", self.process.grpc_addr)).expect("endpoint");
        endpoint.tls_config(tls).expect("configured")
    }

    /// A client that speaks this version, and resumes its sessions.
    fn client(&self, identity: Option<&Certificate>, version: &'static SupportedProtocolVersion) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.servers.pem.as_bytes()).expect("a certificate")).expect("added");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(Certificate { pem, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain, key).expect("configured")
            }
        };
        TlsConnector::from(Arc::new(config))
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

/// The client library, which is nobody without a certificate: then nothing can be said of any token.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_library_speaks_tls_and_has_a_certificate() {
    let server = Tls::start(&["--tls-client-auth", "required"]).await;
    let certificate = server.clients.issue(&[CALLER]);
    let endpoints = |identity: Option<&Certificate>| {
        let urls = [format!("https://{}", server.process.grpc_addr)];
        Endpoints::new(urls).and_then(|endpoints| endpoints.tls(&server.tls(identity))).expect("settings")
    };
    let known = Verifier::builder(endpoints(Some(&certificate))).start();
    timeout(Duration::from_secs(20), known.ready()).await.expect("in time").expect("ready");
    let error = known.verify("a.b.c").await.expect_err("no token");
    assert_eq!(error.reason(), "TOKEN_MALFORMED");
    let nobody = Verifier::builder(endpoints(None)).fallback(Fallback::RemoteVerify).start();
    assert!(nobody.verify("a.b.c").await.expect_err("not served").is_outage());
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

/// Connects, and reads the first bytes, with which tickets of TLS 1.3 come.
async fn begin(client: &TlsConnector, socket: TcpStream) -> TlsStream<TcpStream> {
    let mut stream = client.connect(NAME.try_into().expect("a name"), socket).await.expect("a handshake");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    stream.read_exact(&mut [0; 9]).await.expect("its settings");
    stream
}

/// Whoever resumes shows no certificate, and the one of before may have expired, or its CA be trusted no more.
#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_resumed_where_clients_have_certificates() {
    for (auth, expected) in
        [(&[][..], HandshakeKind::Resumed), (&["--tls-client-auth", "required"], HandshakeKind::Full)]
    {
        let server = Tls::start(auth).await;
        let identity = server.clients.issue(&[CALLER]);
        for version in [&TLS12, &TLS13] {
            let client = server.client(Some(&identity), version);
            let mut kinds = Vec::new();
            for _ in 0..2 {
                let socket = TcpStream::connect(&server.process.grpc_addr).await.expect("connected");
                kinds.extend(begin(&client, socket).await.get_ref().1.handshake_kind());
            }
            assert_eq!(kinds, [HandshakeKind::Full, expected], "{version:?} {auth:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_all_turns_of_handshakes() {
    const TURNS: usize = 256;
    let server = Tls::start(&[]).await;
    let addr = server.process.grpc_addr.parse().expect("an address");
    let (mut held, mut closed) = (JoinSet::new(), 0);
    for _ in 0..TURNS + 8 {
        let mut socket = TcpStream::connect(&server.process.grpc_addr).await.expect("connected");
        // The type of a record with a handshake, and no more.
        socket.write_all(&[22]).await.expect("sent");
        held.spawn(async move { socket.read_to_end(&mut Vec::new()).await.is_ok() });
    }
    // Long before the time of a handshake is over.
    let surplus = async {
        while closed < 8 {
            drop(held.join_next().await.expect("there are more"));
            closed += 1;
        }
    };
    timeout(Duration::from_secs(8), surplus).await.expect("the surplus is closed at once");
    let elsewhere = TcpSocket::new_v4().expect("a socket");
    elsewhere.bind("127.0.0.2:0".parse().expect("an address")).expect("bound");
    let elsewhere = elsewhere.connect(addr).await.expect("connected");
    drop(begin(&server.client(None, &TLS13), elsewhere).await);
    assert_eq!(held.len(), TURNS, "those that have a turn keep it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_with_a_second_uri_names_nobody_even_if_that_is_no_text() {
    let policy = Scratch::of(&format!("[[callers]]\nid = \"{CALLER}\"\nrpcs = [\"GetJwks\"]\n"));
    let server = Tls::start(&["--tls-client-auth", "required", "--policy-file", policy.text()]).await;
    let caller = CALLER.as_bytes();
    server.call(Some(&server.clients.issue_uris(&[caller]))).await.expect("one name");
    for uris in [&[caller, b"\xff\xfe"][..], &[b"\xff\xfe", caller], &[caller, b""], &[b"\xff"]] {
        let refused = server.call(Some(&server.clients.issue_uris(uris))).await.expect_err("ambiguous");
        assert_eq!(refused.code(), Code::PermissionDenied, "{uris:?}");
    }
}

async fn get(mut stream: impl AsyncRead + tokio::io::AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost:8443\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_says_https_where_http_speaks_tls() {
    for (settings, scheme) in [(&[][..], "https"), (&["--http-plaintext"], "http")] {
        let server = Tls::start(settings).await;
        let socket = TcpStream::connect(&server.process.http_addr).await.expect("connected");
        let path = "/.well-known/openid-configuration";
        let answer = if scheme == "https" {
            let client = server.client(None, &TLS13);
            get(client.connect(NAME.try_into().expect("a name"), socket).await.expect("a handshake"), path).await
        } else {
            get(socket, path).await
        };
        let expected = format!("\"jwks_uri\":\"{scheme}://localhost:8443/.well-known/jwks.json\"");
        assert!(answer.contains(&expected), "{answer}");
    }
}

fn healthcheck(args: &[&str]) -> Output {
    Command::new(BINARY).arg("healthcheck").args(["--timeout", "60s"]).args(args).output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_for_its_health_over_tls() {
    let server = Tls::start(&[]).await;
    let (grpc, http) =
        (["--grpc-addr", &server.process.grpc_addr], ["--http", "--http-addr", &server.process.http_addr]);
    for addr in [&grpc[..], &http] {
        let asked = healthcheck(&[addr, &["--tls-no-verify"]].concat());
        assert!(asked.status.success() && asked.stdout == b"serving\n", "{asked:?}");
        let plain = healthcheck(addr);
        assert!(!plain.status.success(), "in plaintext: {plain:?}");
    }
    let mutual = Tls::start(&["--tls-client-auth", "required"]).await;
    let asked = healthcheck(&["--tls-no-verify", "--http", "--http-addr", &mutual.process.http_addr]);
    assert!(asked.status.success(), "HTTP asks for no certificate: {asked:?}");
}
