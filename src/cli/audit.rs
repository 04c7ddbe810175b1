//! `countersign audit`: what happened, straight from the database.

use std::{collections::HashSet, time::Duration};

use clap::{Args, Subcommand};
use countersign_token::{clock::Clock, ids::first_v7};
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{
    output::{require_reader, say},
    settings::{require_schema, store},
};
use crate::{
    audit::newest,
    config::DatabaseSettings,
    domain::user::Username,
    error::Error,
    store::{Store, audit::StoredEvent},
};

/// Time between two looks for new events.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Number of events that are read at once.
const AT_ONCE: u32 = 100_000;
/// Time by which an event may become visible late: its time is taken before it is committed, and by the replica's clock.
const LATE: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Show the newest events, oldest first
    Tail(Tail),
}

#[derive(Args)]
struct Tail {
    #[command(flatten)]
    database: DatabaseSettings,

    /// Events about this user alone, perhaps deleted by now
    #[arg(long)]
    user: Option<String>,

    /// Number of events
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: u32,

    /// Go on showing new ones; those of a server whose clock is a minute behind this machine's may be missed
    #[arg(long, short)]
    follow: bool,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub(super) async fn run(self) -> Result<(), Error> {
        let Action::Tail(tail) = self.action;
        tail.run().await
    }
}

impl Tail {
    async fn run(self) -> Result<(), Error> {
        let name = self.user.as_deref().map(Username::parse).transpose()?;
        let store = store(&self.database)?;
        require_schema(&store).await?;
        let mut seen = Vec::new();
        if self.follow {
            seen = newest(&store, name.as_ref(), recent(), AT_ONCE).await?;
        }
        let events = newest(&store, name.as_ref(), Uuid::nil(), self.lines).await?;
        events.iter().try_for_each(|event| self.show(event))?;
        seen.extend(events);
        if self.follow {
            self.follow(&store, name.as_ref(), ids(&seen)).await?;
        }
        store.close().await;
        Ok(())
    }

    /// Follows the events until that fails, or somebody stops it.
    async fn follow(&self, store: &Store, name: Option<&Username>, mut seen: HashSet<Uuid>) -> Result<(), Error> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            require_reader()?;
            let events = newest(store, name, recent(), AT_ONCE).await?;
            events.iter().filter(|event| !seen.contains(&event.id)).try_for_each(|event| self.show(event))?;
            seen = ids(&events);
        }
    }

    fn show(&self, event: &StoredEvent) -> Result<(), Error> {
        if self.json { say(json(event)) } else { say(line(event)) }
    }
}

/// Below all that may still become visible.
fn recent() -> Uuid {
    first_v7(Clock::system().now() - LATE)
}

fn ids(events: &[StoredEvent]) -> HashSet<Uuid> {
    events.iter().map(|event| event.id).collect()
}

fn json(event: &StoredEvent) -> serde_json::Value {
    json!({
        "id": event.id.to_string(),
        "at": event.at.format(&Rfc3339).unwrap_or_default(),
        "kind": event.kind,
        "actor": event.actor,
        "user_id": event.user_id.map(|id| id.to_string()),
        "username": event.username,
        "session_id": event.session_id.map(|id| id.to_string()),
        "reason": event.reason,
        "detail": event.detail,
        "client": {"ip": event.client_ip, "user_agent": event.client_user_agent, "device": event.client_device},
        "caller": event.caller,
        "count": event.count,
        "request_id": event.request_id,
        "trace_id": event.trace_id,
    })
}

/// The facts of an event as one line for people. What callers have sent is escaped: a terminal might obey it.
fn line(event: &StoredEvent) -> String {
    let at = event.at.replace_nanosecond(0).unwrap_or(event.at).format(&Rfc3339).unwrap_or_default();
    let mut line = format!("{at}  {:22}  by {:13}", event.kind, event.actor);
    let count = event.count.to_string();
    let session = event.session_id.map(|id| id.to_string()).unwrap_or_default();
    for (name, value) in [
        ("user", event.username.as_deref().unwrap_or_default()),
        ("session", session.as_str()),
        ("reason", event.reason.as_str()),
        ("detail", event.detail.as_str()),
        ("caller", event.caller.as_str()),
        ("ip", event.client_ip.as_str()),
        ("device", event.client_device.as_str()),
        ("count", if event.count == 1 { "" } else { count.as_str() }),
        ("request", event.request_id.as_deref().unwrap_or_default()),
        ("trace", event.trace_id.as_deref().unwrap_or_default()),
    ] {
        if !value.is_empty() {
            line.push_str(&format!("  {name}={}", value.escape_debug()));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn what_a_caller_has_sent_is_escaped_for_a_terminal() {
        let event = StoredEvent {
            id: first_v7(OffsetDateTime::UNIX_EPOCH),
            at: OffsetDateTime::UNIX_EPOCH,
            kind: "login_failed".to_owned(),
            actor: "user".to_owned(),
            user_id: None,
            username: Some("alice".to_owned()),
            session_id: None,
            reason: "wrong_password".to_owned(),
            detail: String::new(),
            client_ip: "\u{1b}[2J\u{202e}".to_owned(),
            client_user_agent: String::new(),
            client_device: String::new(),
            caller: String::new(),
            count: 7,
            request_id: Some("request-4711".to_owned()),
            trace_id: None,
        };
        let text = line(&event);
        assert!(text.starts_with("1970-01-01T00:00:00Z  login_failed "), "{text}");
        assert!(
            text.ends_with(r"user=alice  reason=wrong_password  ip=\u{1b}[2J\u{202e}  count=7  request=request-4711"),
            "{text}"
        );
        assert!(!text.contains("device="));
        let json = json(&event);
        assert_eq!(json["client"]["ip"], "\u{1b}[2J\u{202e}");
        assert_eq!((&json["request_id"], &json["trace_id"]), (&"request-4711".into(), &serde_json::Value::Null));
    }
}
