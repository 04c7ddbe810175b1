//! A client of HTTP/1.1 for one URL, over a connection that is kept.

use std::{fmt, future::poll_fn, io, pin::Pin, sync::Arc};

use hyper::{
    Request, Uri,
    body::Body as _,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};
use tokio_util::either::Either;

use super::tls::certificates;
use crate::error::Error;

/// The setting by which errors name the file of CAs.
const CA: &str = "ca-file";

/// A client of one URL.
pub struct HttpClient {
    host: String,
    port: u16,
    /// The header `Host`.
    authority: String,
    path: String,
    tls: Option<TlsConnector>,
    kept: Option<SendRequest<String>>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpClient({})", self.authority)
    }
}

impl HttpClient {
    /// A client of a URL that `setting` names. With `https` the server's certificate must be of one of these CAs, in PEM.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what cannot be used.
    pub fn new(setting: &'static str, url: &str, ca: Option<&str>) -> Result<Self, Error> {
        let unusable = || Error::invalid(setting, "http(s)://HOST[:PORT]/PATH");
        let uri: Uri = url.parse().map_err(|_| unusable())?;
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
            return Err(unusable());
        };
        let (tls, default_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(trusting(ca)?), 443),
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
            tls,
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
        let mut connection = match self.kept.take() {
            Some(kept) if !kept.is_closed() => kept,
            _ => self.connect().await?,
        };
        let mut request = Request::get(&self.path).header(HOST, &self.authority);
        if let Some(token) = bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(String::new()).map_err(io::Error::other)?;
        connection.ready().await.map_err(io::Error::other)?;
        let answer = connection.send_request(request).await.map_err(io::Error::other)?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        while let Some(part) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            part.map_err(io::Error::other)?;
        }
        self.kept = Some(connection);
        Ok(status)
    }

    async fn connect(&self) -> io::Result<SendRequest<String>> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
        let socket = match &self.tls {
            None => Either::Left(socket),
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
                Either::Right(tls.connect(name, socket).await?)
            }
        };
        let (requests, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
        // Its errors are those of the requests.
        tokio::spawn(async move { drop(connection.await) });
        Ok(requests)
    }
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
        let client = HttpClient::new("proxy", "http://[::1]:8000/a?b", None).expect("a URL");
        assert_eq!((client.host.as_str(), client.port), ("::1", 8000));
        assert_eq!((client.authority.as_str(), client.path.as_str()), ("[::1]:8000", "/a?b"));
        let client = HttpClient::new("proxy", "http://edge.example", None).expect("a URL");
        assert_eq!((client.port, client.path.as_str()), (80, "/"));
        for bad in ["", "edge", "edge:80", "/x", "ftp://edge/", "http://", "http://u:p@edge/", "http://a b/"] {
            assert!(HttpClient::new("proxy", bad, None).is_err(), "{bad}");
        }
        let error = HttpClient::new("proxy", "https://edge/", None).expect_err("no CA").to_string();
        assert!(error.starts_with("ca-file: "), "{error}");
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
            for status in ["200 OK", "401 Unauthorized"] {
                let mut head = vec![0; 1024];
                let length = socket.read(&mut head).await.expect("a request");
                heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
                socket.write_all(answer.as_bytes()).await.expect("a reader");
            }
            heads
        });
        let mut distrusting = HttpClient::new("proxy", &url, Some(&stranger.cert.pem())).expect("a client");
        assert!(distrusting.get(Some("token")).await.is_err());
        let mut client = HttpClient::new("proxy", &url, Some(&made.cert.pem())).expect("a client");
        assert_eq!(client.get(None).await.expect("an answer"), 200);
        assert_eq!(client.get(Some("token")).await.expect("an answer"), 401);
        let heads = server.await.expect("a server");
        assert!(
            !heads[0].contains("authorization") && heads[1].contains("authorization: Bearer token\r\n"),
            "{heads:?}"
        );
    }
}
