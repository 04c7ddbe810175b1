//! A client of HTTP/1.1 for one URL, over a connection that is kept.

use std::{error::Error as _, fmt, future::poll_fn, io, pin::Pin, sync::Arc};

use hyper::{
    Request, Uri,
    body::Body as _,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, HOST},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};

use super::{
    connect::{Security, connect},
    tls::certificates,
};
use crate::{domain::listen::ListenAddr, error::Error};

/// The setting by which errors name the file of CAs.
const CA: &str = "ca-file";

/// An answer.
#[derive(Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The body; None if it is longer than was wanted.
    pub body: Option<Vec<u8>>,
}

/// The security of the connections of a client, with `https`.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'t> {
    /// The server's certificate must be of one of these CAs, in PEM. Without them there is no `https`.
    Ca(Option<&'t str>),
    /// Whatever certificate the server shows. It has to be on this machine.
    ThisMachine,
}

enum Transport {
    Plaintext,
    Verified(TlsConnector),
    ThisMachine,
}

/// A client of one URL.
pub struct HttpClient {
    host: String,
    port: u16,
    /// The header `Host`.
    authority: String,
    path: String,
    transport: Transport,
    kept: Option<SendRequest<String>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpClient({})", self.authority)
    }
}

impl HttpClient {
    /// A client of a URL that `setting` names.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what cannot be used.
    pub fn new(setting: &'static str, url: &str, trust: Trust<'_>) -> Result<Self, Error> {
        let unusable = || Error::invalid(setting, "http(s)://HOST[:PORT]/PATH");
        let uri: Uri = url.parse().map_err(|_| unusable())?;
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
            return Err(unusable());
        };
        let (transport, default_port) = match (uri.scheme_str(), trust) {
            (Some("http"), _) => (Transport::Plaintext, 80),
            (Some("https"), Trust::Ca(ca)) => (Transport::Verified(trusting(ca)?), 443),
            (Some("https"), Trust::ThisMachine) => (Transport::ThisMachine, 443),
            _ => return Err(unusable()),
        };
        if authority.as_str().contains('@') {
            return Err(unusable());
        }
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            transport,
            kept: None,
        })
    }

    /// The host and the port, as the URL has them.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The status of the answer, once all of it has come.
    ///
    /// # Errors
    /// Those of the system, of TLS and of HTTP.
    pub async fn get(&mut self, bearer: Option<&str>) -> io::Result<u16> {
        Ok(self.ask(bearer, None).await?.status)
    }

    /// The answer, with a body of at most so many bytes.
    ///
    /// # Errors
    /// As for [`HttpClient::get`].
    pub async fn read(&mut self, most: usize) -> io::Result<HttpAnswer> {
        self.ask(None, Some(most)).await
    }

    /// Reads the body to its end. Keeps none of it, or all, or none if it is longer than `most` bytes.
    async fn ask(&mut self, bearer: Option<&str>, most: Option<usize>) -> io::Result<HttpAnswer> {
        let mut connection = match self.kept.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        let mut request = Request::get(&self.path).header(HOST, &self.authority);
        if let Some(token) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(String::new()).map_err(io::Error::other)?;
        connection.ready().await.map_err(words)?;
        let answer = connection.send_request(request).await.map_err(words)?;
        let status = answer.status().as_u16();
        let (mut body, mut read) = (answer.into_body(), Vec::new());
        while let Some(part) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let data = part.map_err(words)?.into_data();
            let Some((data, most)) = data.ok().zip(most) else { continue };
            if read.len() + data.len() > most {
                return Ok(HttpAnswer { status, body: None });
            }
            read.extend_from_slice(&data);
        }
        self.kept = Some(connection);
        Ok(HttpAnswer { status, body: Some(read) })
    }

    async fn connect(&self) -> io::Result<SendRequest<String>> {
        let tcp = || TcpStream::connect((self.host.as_str(), self.port));
        match &self.transport {
            Transport::Plaintext => begin(TokioIo::new(tcp().await?)).await,
            Transport::Verified(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                begin(TokioIo::new(tls.connect(name, tcp().await?).await?)).await
            }
            Transport::ThisMachine => {
                let addr = ListenAddr::Tcp { host: Some(self.host.clone()), port: self.port };
                begin(connect(&addr, Security::UnverifiedTls).await?).await
            }
        }
    }
}

/// Begins to speak HTTP.
async fn begin(socket: impl Read + Write + Unpin + Send + 'static) -> io::Result<SendRequest<String>> {
    let (requests, connection) = http1::handshake(socket).await.map_err(words)?;
    // Its errors are those of the requests.
    tokio::spawn(async move { drop(connection.await) });
    Ok(requests)
}

/// The error of the system that is below one of HTTP, or what there is to say of it.
fn words(error: hyper::Error) -> io::Error {
    if error.is_parse() {
        return io::Error::other("its answer is not of HTTP/1.1");
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return io::ErrorKind::UnexpectedEof.into();
    }
    let kind = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    io::Error::new(kind.unwrap_or(io::ErrorKind::Other), error)
}

/// TLS with servers that one of these CAs vouches for.
fn trusting(ca: Option<&str>) -> Result<TlsConnector, Error> {
    let ca =
        ca.ok_or_else(|| Error::invalid(CA, "https needs the certificates of the CA that vouches for the server"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(CA, ca)? {
        roots.add(certificate).map_err(|error| Error::invalid(CA, error.to_string()))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::{
        TlsAcceptor,
        rustls::{ServerConfig, pki_types::PrivateKeyDer},
    };

    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let client = HttpClient::new("proxy", "http://[::1]:8000/a?b", Trust::Ca(None)).expect("a URL");
        assert_eq!((client.host.as_str(), client.port), ("::1", 8000));
        assert_eq!((client.authority.as_str(), client.path.as_str()), ("[::1]:8000", "/a?b"));
        let client = HttpClient::new("proxy", "http://edge.example", Trust::Ca(None)).expect("a URL");
        assert_eq!((client.port, client.path.as_str()), (80, "/"));
        for bad in ["", "edge", "edge:80", "/x", "ftp://edge/", "http://", "http://u:p@edge/", "http://a b/"] {
            assert!(HttpClient::new("proxy", bad, Trust::Ca(None)).is_err(), "{bad}");
        }
        let error = HttpClient::new("proxy", "https://edge/", Trust::Ca(None)).expect_err("no CA").to_string();
        assert!(error.starts_with("ca-file: "), "{error}");
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_and_no_answer_of_http_is_told() {
        let listener = TcpListener::bind("localhost:0").await.expect("a port");
        let url = format!("http://localhost:{}/x", listener.local_addr().expect("an address").port());
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.expect("a reader");
            while socket.write_all(b"4\r\nmore\r\n").await.is_ok() {}
            let (mut socket, _) = listener.accept().await.expect("another connection");
            socket.write_all(b"SSH-2.0-x\r\n").await.expect("a reader");
        });
        let mut client = HttpClient::new("proxy", &url, Trust::Ca(None)).expect("a client");
        assert!(client.read(1000).await.expect("a head").body.is_none());
        let error = client.read(1000).await.expect_err("no HTTP");
        assert_eq!(error.to_string(), "its answer is not of HTTP/1.1");
        server.await.expect("a server");
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_only_the_ca_vouches_for_the_server() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate that can be used");
        let listener = TcpListener::bind("localhost:0").await.expect("a port");
        let url = format!("https://localhost:{}/x", listener.local_addr().expect("an address").port());
        let server = tokio::spawn(async move {
            let (refused, _) = listener.accept().await.expect("a connection");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            assert!(acceptor.accept(refused).await.is_err(), "the client does not trust it");
            let (socket, _) = listener.accept().await.expect("a connection");
            let mut socket = acceptor.accept(socket).await.expect("TLS");
            let mut heads = Vec::new();
            for status in ["200 OK", "401 Unauthorized", "200 OK"] {
                let mut head = vec![0; 1024];
                let length = socket.read(&mut head).await.expect("a request");
                heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
                socket.write_all(answer.as_bytes()).await.expect("a reader");
            }
            let (socket, _) = listener.accept().await.expect("a connection");
            acceptor.accept(socket).await.expect("TLS with whoever does not look");
            heads
        });
        let mut distrusting = HttpClient::new("proxy", &url, Trust::Ca(Some(&stranger.cert.pem()))).expect("a client");
        assert!(distrusting.get(Some("token")).await.is_err());
        let mut client = HttpClient::new("proxy", &url, Trust::Ca(Some(&made.cert.pem()))).expect("a client");
        assert_eq!(client.get(None).await.expect("an answer"), 200);
        assert_eq!(client.get(Some("token")).await.expect("an answer"), 401);
        assert_eq!(client.read(2).await.expect("an answer").body.as_deref(), Some(&b"ok"[..]));
        let mut careless = HttpClient::new("proxy", &url, Trust::ThisMachine).expect("a client");
        careless.get(None).await.expect_err("the server has gone, once TLS was spoken");
        let heads = server.await.expect("a server");
        assert!(
            !heads[0].contains("authorization") && heads[1].contains("authorization: Bearer token\r\n"),
            "{heads:?}"
        );
    }
}
