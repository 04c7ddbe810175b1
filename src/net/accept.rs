//! The loop that accepts connections, and the bounds on how many there are.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body::Body;
use hyper::body::Incoming;
use tokio::{sync::watch, task::JoinSet, time::sleep};
use tower::Service;

use super::{
    connection::{Connections, stopped},
    listener::Listener,
    protocol::Protocol,
    tls::TlsConfig,
};
use crate::domain::connection::ConnectionPolicy;

/// The pauses after a connection could not be accepted: the first, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_secs(1)];

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
    let admission = Arc::new(Admission::new(policy));
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
                let Some(admitted) = Admission::admit(&admission, addr) else {
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

/// The connections that there are.
#[derive(Debug)]
struct Admission {
    policy: ConnectionPolicy,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_addr: HashMap<IpAddr, usize>,
    /// True from a refusal until there is room again, so that a flood is one line in the log.
    refusing: bool,
}

impl Admission {
    fn new(policy: ConnectionPolicy) -> Self {
        Self { policy, counts: Mutex::default() }
    }

    /// Counts one more connection from this address; None if there are too many.
    fn admit(this: &Arc<Self>, addr: Option<IpAddr>) -> Option<Admitted> {
        let key = addr.map(network);
        let mut counts = this.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let from_there = key.and_then(|key| counts.by_addr.get(&key).copied()).unwrap_or_default();
        if counts.all >= this.policy.max_connections || from_there >= this.policy.max_connections_per_address {
            if !counts.refusing {
                counts.refusing = true;
                let (all, peer) = (counts.all, addr.map(tracing::field::display));
                tracing::warn!(all, from_there, peer, "too many connections: new ones are closed");
            }
            return None;
        }
        counts.refusing = false;
        counts.all += 1;
        if let Some(key) = key {
            counts.by_addr.insert(key, from_there + 1);
        }
        Some(Admitted { admission: Arc::clone(this), key })
    }
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
struct Admitted {
    admission: Arc<Admission>,
    key: Option<IpAddr>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(key) = self.key {
            let left = counts.by_addr.get(&key).map_or(0, |count| count - 1);
            if left == 0 {
                counts.by_addr.remove(&key);
            } else {
                counts.by_addr.insert(key, left);
            }
        }
    }
}

/// The network that counts as one address: of IPv6 the first 64 bits, which one host may have whole.
fn network(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(max_connections: usize, max_connections_per_address: usize) -> Arc<Admission> {
        let policy = ConnectionPolicy { max_connections, max_connections_per_address, max_age: None };
        Arc::new(Admission::new(policy))
    }

    #[test]
    fn connections_are_bounded_in_all_and_by_address_and_count_until_they_end() {
        let [here, there, v6, same_v6] =
            ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"].map(|addr| Some(addr.parse().expect("address")));
        let admission = admission(4, 2);
        let admit = |addr| Admission::admit(&admission, addr);
        let first = [admit(here), admit(here)];
        assert!(first.iter().all(Option::is_some) && admit(here).is_none());
        let second = [admit(v6), admit(same_v6)];
        assert!(second.iter().all(Option::is_some));
        assert!(admit(there).is_none() && admit(None).is_none(), "four in all");
        drop(second);
        let local = [admit(None), admit(None)];
        assert!(local.iter().all(Option::is_some));
        drop((first, local));
        assert_eq!(admission.counts.lock().expect("not poisoned").by_addr.len(), 0);
        assert!(admit(here).is_some());
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
