//! The loop that accepts connections, and the bounds on how many there are.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use http_body::Body;
use hyper::body::Incoming;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::Service;

use super::{
    connection::{Connections, stopped},
    listener::Listener,
    places::{Full, Place, Places, network},
    protocol::Protocol,
    tls::TlsConfig,
};
use crate::domain::connection::ConnectionPolicy;

/// The pauses after a connection could not be accepted: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];

/// Time without a refusal after which the next one begins another flood.
const CALM: Duration = Duration::from_secs(60);

/// A port: the sockets that it listens on, and what is spoken there.
#[derive(Debug)]
pub struct Port {
    /// The sockets.
    pub listener: Listener,
    /// The protocol.
    pub protocol: Protocol,
    /// The certificate with which it speaks TLS; None for plaintext.
    pub tls: Option<TlsConfig>,
    /// The bounds of its connections.
    pub policy: ConnectionPolicy,
}

impl Port {
    /// A port without TLS, with the bounds by default.
    pub fn plaintext(listener: impl Into<Listener>, protocol: Protocol) -> Self {
        Self { listener: listener.into(), protocol, tls: None, policy: ConnectionPolicy::default() }
    }
}

/// Serves the connections of a port until `stop` says so. Then new ones are refused, and those that there are end with their
/// requests.
pub async fn serve<S, B>(port: Port, service: S, stop: watch::Receiver<bool>)
where
    S: Service<http::Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Port { listener, protocol, tls, policy } = port;
    let connections = Arc::new(Connections::new(service, protocol, tls, policy));
    let mut admission = Admission::new(policy);
    let mut served = JoinSet::new();
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            () = stopped(stop.clone()) => break,
            Some(_) = served.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, addr)) => {
                trouble.over();
                let Some(admitted) = admission.admit(addr) else {
                    continue;
                };
                let serving = Arc::clone(&connections).serve(socket, addr, stop.clone());
                served.spawn(async move {
                    serving.await;
                    drop(admitted);
                });
            }
            Err(error) => tokio::select! {
                () = stopped(stop.clone()) => break,
                () = sleep(trouble.pause(&error)) => {}
            },
        }
    }
    // Whoever comes now is refused at once, rather than left waiting.
    drop(listener);
    while served.join_next().await.is_some() {}
}

/// Failures to accept, one after the other.
#[derive(Debug, Default)]
struct Trouble {
    pause: Option<Duration>,
}

impl Trouble {
    /// The pause before the next try. The first failure is said.
    fn pause(&mut self, error: &io::Error) -> Duration {
        // The client had left before it was accepted.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return Duration::ZERO;
        }
        let [first, longest] = PAUSES;
        if self.pause.is_none() {
            tracing::error!(%error, "connections cannot be accepted; trying again");
        }
        let pause = self.pause.map_or(first, |pause| longest.min(pause * 2));
        self.pause = Some(pause);
        pause
    }

    fn over(&mut self) {
        if self.pause.take().is_some() {
            tracing::info!("connections are accepted again");
        }
    }
}

/// The connections that there may be.
#[derive(Debug)]
struct Admission {
    places: Arc<Places<IpAddr>>,
    max_connections: usize,
    /// The last refusal because the port is full.
    flood: Flood,
    /// The last refusal because one address has too many.
    flood_of_one: Flood,
}

/// Refusals one after the other, which are one line in the log.
#[derive(Debug, Default)]
struct Flood {
    last: Option<Instant>,
}

impl Flood {
    /// Notes a refusal. Says whether a flood begins with it: others may be admitted between two of the same flood.
    fn begins(&mut self, now: Instant) -> bool {
        self.last.replace(now).is_none_or(|last| now.duration_since(last) >= CALM)
    }
}

impl Admission {
    fn new(policy: ConnectionPolicy) -> Self {
        let places = Places::new(policy.max_connections, policy.max_connections_per_address);
        let max_connections = policy.max_connections;
        Self { places, max_connections, flood: Flood::default(), flood_of_one: Flood::default() }
    }

    /// Counts one more connection from this address; None if there are too many.
    fn admit(&mut self, addr: Option<IpAddr>) -> Option<Place<IpAddr>> {
        let Full { all, own } = match self.places.take(addr.map(network)) {
            Ok(place) => return Some(place),
            Err(full) => full,
        };
        let flood = if all < self.max_connections { &mut self.flood_of_one } else { &mut self.flood };
        if flood.begins(Instant::now()) {
            let peer = addr.map(tracing::field::display);
            tracing::warn!(all, from_there = own, peer, "too many connections: new ones are closed");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_counts_with_its_network() {
        let policy = ConnectionPolicy { max_connections_per_address: 2, ..ConnectionPolicy::default() };
        let mut admission = Admission::new(policy);
        let [one, same, other, mapped] = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1"]
            .map(|addr| Some(addr.parse().expect("an address")));
        let held = [admission.admit(one), admission.admit(same)];
        assert!(held.iter().all(Option::is_some) && admission.admit(one).is_none());
        assert!(admission.admit(other).is_some() && admission.admit(mapped).is_some());
    }

    #[test]
    fn a_flood_ends_when_nobody_was_refused_for_a_while() {
        let (mut flood, begun) = (Flood::default(), Instant::now());
        let begins = [0, 1, 60, 119, 179, 180].map(|second| flood.begins(begun + Duration::from_secs(second)));
        assert_eq!(begins, [true, false, false, false, true, false]);
    }

    #[test]
    fn pauses_grow_to_a_second_and_start_anew_after_a_success() {
        let mut trouble = Trouble::default();
        let error = io::Error::from_raw_os_error(24);
        let pauses: Vec<_> = (0..10).map(|_| trouble.pause(&error).as_millis()).collect();
        assert_eq!(pauses[..3], [5, 10, 20]);
        assert_eq!(pauses.last(), Some(&1000));
        assert_eq!(trouble.pause(&io::ErrorKind::ConnectionAborted.into()), Duration::ZERO);
        trouble.over();
        assert_eq!(trouble.pause(&error).as_millis(), 5);
    }
}
