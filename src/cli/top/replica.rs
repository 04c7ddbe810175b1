//! A replica that is asked for its metrics, and why it did not give them.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::{
    domain::unreached::{no_answer, unreached},
    error::Error,
    metrics::{MINUTE, Recent, Window, read_metrics},
    net::{HttpClient, Trust},
};

/// Longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer that is read, in bytes: many times what a server has to say.
const LONGEST: usize = 4 << 20;
/// Time of which rates are shown.
pub(super) const SPAN: Duration = Duration::from_secs(15);
/// The metric that has the version.
const BUILD: &str = "countersign_build_info";

/// A replica by its URL.
pub(super) struct Replica {
    client: HttpClient,
    window: Window,
    /// The id on the list of replicas, as it said it last.
    id: Option<Uuid>,
}

/// A replica as it was seen last.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The host and the port.
    pub(super) name: String,
    pub(super) id: Option<Uuid>,
    pub(super) state: Result<Told, String>,
}

/// The metrics that a replica has told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Metrics of the time of which rates are shown.
    pub(super) recent: Recent,
    /// Metrics of the last minute, by which is judged what is wrong.
    pub(super) minute: Recent,
}

impl Replica {
    /// The replica whose HTTP port, or port of metrics, is at this URL.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub(super) fn new(url: &str, trust: Trust<'_>) -> Result<Self, Error> {
        let client = HttpClient::new("url", &metrics_url(url), trust)?;
        Ok(Self { client, window: Window::default(), id: None })
    }

    /// Asks once.
    pub(super) async fn look(&mut self) -> Seen {
        let state = self.ask().await;
        Seen { name: self.client.authority().to_owned(), id: self.id, state }
    }

    /// Fails with a sentence that names the replica.
    async fn ask(&mut self) -> Result<Told, String> {
        let asked = timeout(PATIENCE, self.client.read(LONGEST)).await;
        let name = self.client.authority();
        let answer = asked.map_err(|_| no_answer(name))?.map_err(|error| unreached(name, &error))?;
        let text = match (answer.status, answer.body) {
            (200, Some(body)) => String::from_utf8(body).map_err(|_| stranger(name, "not in UTF-8"))?,
            (200, None) => return Err(stranger(name, "longer than 4 MiB")),
            (status, _) => return Err(refused(name, status)),
        };
        let metrics = read_metrics(&text).map_err(|error| stranger(name, &error.to_string()))?;
        if !metrics.iter().any(|metric| metric.name() == BUILD) {
            return Err(stranger(name, &format!("without {BUILD}")));
        }
        self.window.push(Instant::now(), metrics);
        let (Some(recent), Some(minute)) = (self.window.last(SPAN), self.window.last(MINUTE)) else {
            return Err(no_answer(name));
        };
        self.id = recent.label_values("countersign_replica_info", ["replica"]).first().and_then(|[id]| id.parse().ok());
        Ok(Told { recent, minute })
    }
}

impl Told {
    pub(super) fn version(&self) -> String {
        self.recent.label_values(BUILD, ["version"]).pop().map(|[version]| version).unwrap_or_default()
    }
}

/// The URL of the metrics of a port.
fn metrics_url(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/metrics") { url.to_owned() } else { format!("{url}/metrics") }
}

/// A sentence about an answer that is no metrics.
fn refused(name: &str, status: u16) -> String {
    match status {
        404 => format!("{name} has no /metrics (404): with COUNTERSIGN_METRICS_ADDR they are on that port, so name it"),
        503 => format!("{name} is not ready to tell its metrics (503): it waits for its database, or is about to stop"),
        status => format!("{name} answered {status} to /metrics: look whether it is the HTTP port of Countersign"),
    }
}

/// A sentence about an answer that is not of Countersign.
fn stranger(name: &str, why: &str) -> String {
    format!("{name} tells no metrics of Countersign (its answer is {why}): look whether it is the right port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_that_of_a_port_or_of_its_metrics() {
        for url in ["http://a:1", "http://a:1/", "http://a:1/metrics"] {
            assert_eq!(metrics_url(url), "http://a:1/metrics");
        }
        assert_eq!(metrics_url("https://gate.example/replica-1/"), "https://gate.example/replica-1/metrics");
        for bad in ["", "a:1", "ftp://a", "http://u:s3cret@a"] {
            let error = Replica::new(bad, Trust::Ca(None)).err().expect("no URL").to_string();
            assert_eq!(error, "url: http(s)://HOST[:PORT]/PATH", "{bad}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (status, says) in
            [(404, "COUNTERSIGN_METRICS_ADDR"), (503, "waits for its database"), (302, "answered 302")]
        {
            assert!(refused("a:1", status).starts_with("a:1 ") && refused("a:1", status).contains(says), "{status}");
        }
        let said = stranger("a:1", "line 1 is no sample of a metric");
        assert!(said.starts_with("a:1 tells no metrics of Countersign"), "{said}");
    }
}
