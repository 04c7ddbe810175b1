//! Sockets that accept connections.

use std::{
    collections::BTreeSet,
    fmt, fs,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    os::unix::{fs::FileTypeExt as _, net::UnixStream as Probe},
    path::Path,
    task::Poll,
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host};
use tokio_util::either::Either;

use crate::{
    domain::{listen::ListenAddr, text::system_words},
    error::Error,
};

/// A connection before anything was said over it.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// The sockets of one address to listen on: a host may have several.
pub struct Listener(Vec<Bound>);

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on an address that a setting names.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for one that cannot be had.
    pub async fn bind(setting: &'static str, addr: &ListenAddr) -> Result<Self, Error> {
        let bound = match addr {
            ListenAddr::Unix(path) => bind_unix(path).map(|bound| vec![bound]),
            ListenAddr::Tcp { host: Some(host), port } => bind_host(host, *port).await,
            ListenAddr::Tcp { host: None, port } => bind_everywhere(*port).await,
        };
        bound.map(Self).map_err(|error| Error::invalid(setting, refused(addr, &error)))
    }

    /// The first address of TCP that it listens on, with the port that it was given; None for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.iter().find_map(|bound| match bound {
            Bound::Tcp(tcp) => tcp.local_addr().ok(),
            Bound::Unix(_) => None,
        })
    }

    /// Waits for the next connection. Dropping the wait loses none.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<IpAddr>)> {
        poll_fn(|cx| {
            for bound in &self.0 {
                let accepted = match bound {
                    Bound::Tcp(tcp) => tcp
                        .poll_accept(cx)
                        .map_ok(|(stream, addr)| (Either::Left(stream), Some(addr.ip().to_canonical()))),
                    Bound::Unix(unix) => unix.poll_accept(cx).map_ok(|(stream, _)| (Either::Right(stream), None)),
                };
                if accepted.is_ready() {
                    return accepted;
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self(vec![Bound::Tcp(tcp)])
    }
}

/// Writes the addresses that it listens on.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, bound) in self.0.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match bound {
                Bound::Tcp(tcp) => write!(f, "{}", tcp.local_addr().map_err(|_| fmt::Error)?)?,
                Bound::Unix(unix) => {
                    let addr = unix.local_addr().map_err(|_| fmt::Error)?;
                    write!(f, "unix:{}", addr.as_pathname().unwrap_or(Path::new("")).display())?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({self})")
    }
}

/// Words about an address that cannot be listened on.
fn refused(addr: &ListenAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{addr} is in use already: stop what listens there, or take another address")
        }
        io::ErrorKind::PermissionDenied => format!("{addr} may not be listened on by this user"),
        io::ErrorKind::AddrNotAvailable => format!("{addr} is no address of this machine"),
        _ => format!("{addr} cannot be listened on: {}", system_words(error)),
    }
}

/// A unix socket leaves its file when its process is killed, so a file that nobody listens behind is replaced.
fn bind_unix(path: &Path) -> io::Result<Bound> {
    let left = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if left && Probe::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    UnixListener::bind(path).map(Bound::Unix)
}

async fn bind_host(host: &str, port: u16) -> io::Result<Vec<Bound>> {
    let (mut bound, mut failed) = (Vec::new(), io::Error::other("the name has no address"));
    let addrs: BTreeSet<SocketAddr> = lookup_host((host, port)).await?.collect();
    for mut addr in addrs {
        // A free port of the first address serves for the others.
        if let (0, Some(Bound::Tcp(first))) = (port, bound.first()) {
            addr.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(addr).await {
            Ok(tcp) => bound.push(Bound::Tcp(tcp)),
            // A machine may know a name by a family that it does not speak.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => failed = error,
            Err(error) => return Err(error),
        }
    }
    if bound.is_empty() { Err(failed) } else { Ok(bound) }
}

/// Binds the port of IPv6, which takes IPv4 too; that of IPv4 where the machine has no IPv6.
async fn bind_everywhere(port: u16) -> io::Result<Vec<Bound>> {
    let both = TcpListener::bind(("::", port)).await;
    let tcp = match both {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => TcpListener::bind(("0.0.0.0", port)).await?,
        both => both?,
    };
    Ok(vec![Bound::Tcp(tcp)])
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::net::UnixListener as Std, process};

    use super::*;

    async fn bind(addr: &str) -> Result<Listener, Error> {
        Listener::bind("grpc-addr", &addr.parse().expect("an address")).await
    }

    #[tokio::test]
    async fn both_families_and_names_are_listened_on() {
        let everywhere = bind(":0").await.expect("bound");
        let port = everywhere.local_addr().expect("TCP").port();
        let (client, accepted) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), everywhere.accept());
        let peer = client.expect("connected").local_addr().expect("an address").ip();
        assert_eq!(accepted.expect("accepted").1, Some(peer), "as IPv4, not as IPv6 of IPv4");
        let named = bind("localhost:0").await.expect("bound");
        let port = named.local_addr().expect("TCP").port();
        let (client, accepted) = tokio::join!(TcpStream::connect(("localhost", port)), named.accept());
        assert!(client.is_ok() && accepted.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_cannot_be_had_is_named() {
        let taken = bind("127.0.0.1:0").await.expect("bound");
        let addr = taken.to_string();
        let said = bind(&addr).await.expect_err("taken").to_string();
        assert!(said.starts_with(&format!("grpc-addr: {addr} is in use already: ")), "{said}");
        assert!(bind("unix:/no/such/directory/socket").await.is_err());
        assert!(bind("name.invalid:1").await.is_err());
    }

    #[tokio::test]
    async fn a_unix_socket_that_was_left_is_replaced_and_one_in_use_is_not() {
        let path = env::temp_dir().join(format!("countersign-listener-{}", process::id()));
        drop(Std::bind(&path).expect("bound"));
        let addr = format!("unix:{}", path.display());
        let listener = bind(&addr).await.expect("replaced");
        assert!(bind(&addr).await.is_err(), "in use");
        let (client, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert_eq!((client.is_ok(), accepted.expect("accepted").1), (true, None));
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "a file").expect("written");
        assert!(bind(&addr).await.is_err(), "no socket");
        fs::remove_file(path).expect("removed");
    }
}
