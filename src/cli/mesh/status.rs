//! `countersign mesh status`: the proxies that replicas tell, as these have reported them.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use crate::{
    cli::{
        output::say,
        settings::{require_schema, store},
    },
    config::DatabaseSettings,
    domain::proxy::ReportedProxy,
    error::Error,
    store::proxies,
};

/// Age beyond which a report is of a replica that is silent: they come each second.
const SILENT: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Status {
    #[command(flatten)]
    database: DatabaseSettings,

    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), Error> {
        let store = store(&self.database)?;
        require_schema(&store).await?;
        let all = proxies::all(&mut store.acquire().await?).await?;
        store.close().await;
        if all.is_empty() && !self.json {
            return say("no proxy is told of revocations");
        }
        all.iter().try_for_each(|it| if self.json { say(json(it)) } else { say(line(it)) })
    }
}

/// The state of a proxy in a word, and what is to be known of it.
fn state(it: &ReportedProxy) -> (&'static str, String) {
    let lag = Duration::from_secs(it.proxy.lag.as_secs());
    match (&it.proxy.refusal, it.behind) {
        _ if it.age > SILENT => ("unknown", format!("its replica has reported nothing for {}s", it.age.as_secs())),
        _ if !it.proxy.is_connected => ("gone", "it may accept tokens until its lists expire".to_owned()),
        (Some(reason), _) => ("refuses", reason.clone()),
        (None, None) => ("empty", "it has confirmed nothing yet".to_owned()),
        (None, Some(0)) if lag.is_zero() => ("current", String::new()),
        (None, Some(rows)) => ("behind", format!("{rows} revocations, unconfirmed for {}s", lag.as_secs())),
    }
}

/// A line for people. What a proxy has sent is escaped: a terminal might obey it.
fn line(it: &ReportedProxy) -> String {
    let (state, note) = state(it);
    let since = it.proxy.connected_at.format(&Rfc3339).unwrap_or_default();
    let (name, caller) = (it.proxy.name.escape_debug(), it.proxy.caller.escape_debug());
    let line = format!("{state:8}  {name}  caller={caller}  replica={}  since={since}", it.replica);
    if note.is_empty() { line } else { format!("{line}  {}", note.escape_debug()) }
}

fn json(it: &ReportedProxy) -> serde_json::Value {
    let (state, note) = state(it);
    json!({
        "state": state,
        "note": note,
        "proxy": it.proxy.name,
        "caller": it.proxy.caller,
        "replica": it.replica.to_string(),
        "connected_at": it.proxy.connected_at.format(&Rfc3339).unwrap_or_default(),
        "revocations_behind": it.behind,
        "reported_seconds_ago": it.age.as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::proxy::ToldProxy;

    fn reported(change: impl FnOnce(&mut ReportedProxy)) -> ReportedProxy {
        let proxy = ToldProxy {
            name: "edge-1".to_owned(),
            has_list: true,
            caller: "unknown".to_owned(),
            connected_at: OffsetDateTime::UNIX_EPOCH,
            reached: Some(7),
            lag: Duration::ZERO,
            refusal: None,
            is_connected: true,
        };
        let mut it = ReportedProxy { replica: Uuid::nil(), age: Duration::from_secs(1), behind: Some(0), proxy };
        change(&mut it);
        it
    }

    #[test]
    fn the_state_says_the_worst_first() {
        let state = |change: fn(&mut ReportedProxy)| state(&reported(change)).0;
        assert_eq!(state(|_| ()), "current");
        assert_eq!(state(|it| it.behind = Some(3)), "behind");
        assert_eq!(state(|it| it.proxy.lag = Duration::from_secs(4)), "behind");
        assert_eq!(state(|it| it.behind = None), "empty");
        assert_eq!(state(|it| it.proxy.refusal = Some("no".to_owned())), "refuses");
        assert_eq!(state(|it| it.proxy.is_connected = false), "gone");
        assert_eq!(state(|it| it.age = Duration::from_secs(60)), "unknown");
    }

    #[test]
    fn what_a_proxy_has_sent_is_escaped_for_a_terminal() {
        let line = line(&reported(|it| it.proxy.refusal = Some("\u{1b}[2J".to_owned())));
        assert_eq!(
            line,
            "refuses   edge-1  caller=unknown  replica=00000000-0000-0000-0000-000000000000  \
             since=1970-01-01T00:00:00Z  \\u{1b}[2J"
        );
    }
}
