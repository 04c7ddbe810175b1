//! The status page as HTML. It comes anew by itself.

use std::{fmt::Write as _, time::Duration};

use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::super::html::escaped;
use crate::{
    auth::overview::{Overview, ShownEvent, ShownKey},
    domain::replica::SeenReplica,
    metrics::{Finding, Recent, Severity, rate, time, whole},
};

pub(super) const STYLE: &str = include_str!("page.css");
/// Seconds after which the browser asks again.
const REFRESH: u32 = 5;
/// RPCs that the page shows.
const METHODS: usize = 20;

/// The page of one moment.
pub(super) struct Page<'p> {
    pub findings: Vec<Finding>,
    pub recent: &'p Recent,
    pub own: Uuid,
    pub replicas: Vec<SeenReplica>,
    pub overview: &'p Overview,
}

impl Page<'_> {
    pub(super) fn html(&self) -> String {
        let (own, version) = (self.own, env!("CARGO_PKG_VERSION"));
        let rooms = [self.revocations(), self.logins(), self.tokens(), self.database()].concat();
        let body = [
            self.verdict(),
            self.calls(),
            format!("<div class=\"rooms\">{rooms}</div>"),
            self.replicas(),
            self.keys(),
            self.events(),
        ];
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"refresh\" content=\"{REFRESH}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Countersign: status</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>Countersign</h1>\n<small>Replica {own}, version {version}. Rates are of the last \
             minute; the page comes anew each {REFRESH} s.</small>\n{}</body>\n</html>\n",
            body.concat()
        )
    }

    fn verdict(&self) -> String {
        if self.findings.is_empty() {
            return "<p class=\"well\" role=\"status\">All is well, as far as this replica can tell.</p>\n".to_owned();
        }
        let paragraph = |Finding { severity, what, remedy }: &Finding| {
            let class = if *severity == Severity::Error { "error" } else { "warning" };
            format!(
                "<p class=\"{class}\" role=\"alert\"><strong>{}</strong><br>{}</p>\n",
                escaped(what),
                escaped(remedy)
            )
        };
        self.findings.iter().map(paragraph).collect()
    }

    fn calls(&self) -> String {
        let handled = "grpc_server_handled_total";
        // Services have methods of the same name: Check.
        let names = ["grpc_service", "grpc_method"];
        let row = |[service, method]: &[String; 2]| {
            let of = [(names[0], service.as_str()), (names[1], method.as_str())];
            let all = self.recent.per_second(handled, &of);
            let ok = self.recent.per_second(handled, &[of[0], of[1], ("grpc_code", "OK")]);
            let took = |q| time(self.recent.quantile("grpc_server_handling_seconds", &of, q));
            let short = service.rsplit('.').next().unwrap_or_default();
            [format!("{short}/{method}"), rate(all), rate(all - ok), took(0.5), took(0.99)]
        };
        let called = |[service, method]: &[String; 2]| {
            self.recent.growth(handled, &[(names[0], service.as_str()), (names[1], method.as_str())]) > 0.0
        };
        let methods = self.recent.label_values(handled, names);
        let rows: Vec<_> = methods.iter().filter(|it| called(it)).take(METHODS).map(row).collect();
        table("Calls", &["RPC", "per second", "not OK", "half within", "99% within"], &rows)
    }

    fn revocations(&self) -> String {
        let value = |name: &str| self.recent.value(name, &[]);
        let age = value("countersign_revocation_freshness_age_seconds");
        let confirmed =
            |q| time(self.recent.quantile("countersign_revocation_confirmation_seconds", &[("confirmed", "true")], q));
        let known = if age.is_finite() { format!("{age:.1} s ago") } else { "nothing is known".to_owned() };
        let rows = [
            ["known as of".to_owned(), known],
            ["the bound".to_owned(), format!("{:.0} s", value("countersign_revocation_freshness_bound_seconds"))],
            ["entries of the index".to_owned(), whole(value("countersign_revocation_index_entries"))],
            ["confirmed, 99% within".to_owned(), confirmed(0.99)],
            ["clients and proxies that follow".to_owned(), whole(value("countersign_watchers"))],
            ["failovers and restores seen".to_owned(), whole(value("countersign_database_moves_total"))],
        ];
        table("Revocations", &["", ""], &rows)
    }

    fn logins(&self) -> String {
        let mut rows = self.by_label("countersign_logins_total", "result");
        let value = |name: &str| self.recent.value(name, &[]);
        let took = |name: &str| time(self.recent.quantile(name, &[], 0.99));
        rows.push(["passwords that wait".to_owned(), whole(value("countersign_password_hash_queue"))]);
        rows.push(["wait, 99% within".to_owned(), took("countersign_password_hash_wait_seconds")]);
        rows.push(["a hash, 99% within".to_owned(), took("countersign_password_hash_seconds")]);
        table("Logins, per second", &["", ""], &rows)
    }

    fn tokens(&self) -> String {
        let mut rows = self.by_label("countersign_verifications_total", "result");
        let refreshes = self.by_label("countersign_refreshes_total", "outcome");
        rows.extend(refreshes.into_iter().map(|[outcome, rate]| [format!("refresh: {outcome}"), rate]));
        table("Tokens, per second", &["", ""], &rows)
    }

    fn database(&self) -> String {
        let connections = |state| self.recent.value("countersign_database_connections", &[("state", state)]);
        let most = self.recent.value("countersign_database_connections_max", &[]);
        let took = |name, labels: &[_]| time(self.recent.quantile(name, labels, 0.99));
        let statements = "countersign_database_statement_seconds";
        let rows = [
            ["connections in use".to_owned(), format!("{:.0} of {most:.0}", connections("used"))],
            ["idle connections".to_owned(), whole(connections("idle"))],
            ["wait for one, 99% within".to_owned(), took("countersign_database_acquire_seconds", &[])],
            ["statements, 99% within".to_owned(), took(statements, &[("outcome", "ok")])],
            [
                "statements without an answer".to_owned(),
                whole(self.recent.growth(statements, &[("outcome", "unavailable")])),
            ],
            [
                "clocks apart".to_owned(),
                format!("{:.1} s", self.recent.value("countersign_clock_distance_seconds", &[])),
            ],
        ];
        table("Database", &["", ""], &rows)
    }

    /// The rates of a counter by a label, but those that are zero.
    fn by_label(&self, name: &str, label: &str) -> Vec<[String; 2]> {
        let rates = self.recent.rates_by(name, label).into_iter();
        rates.map(|(value, of)| [value.replace('_', " "), rate(of)]).collect()
    }

    fn replicas(&self) -> String {
        let row = |replica: &SeenReplica| {
            let state = match replica {
                it if it.id == self.own => "this one".to_owned(),
                it if it.is_silent() => format!("silent for {:.0} s", it.silent_for.as_secs_f64()),
                _ => "heard".to_owned(),
            };
            let bound = format!("{:.0} s", replica.max_staleness.as_secs_f64());
            [replica.id.to_string(), state, replica.applied_seq.to_string(), bound]
        };
        let rows: Vec<_> = self.replicas.iter().map(row).collect();
        table("Replicas, as this one read their list last", &["replica", "", "has applied", "bound"], &rows)
    }

    fn keys(&self) -> String {
        let Some(keys) = &self.overview.keys else {
            return absent("Keys");
        };
        let row = |ShownKey { key, algorithm, .. }: &ShownKey| {
            let age = humantime::format_duration(Duration::from_secs(key.age.as_secs())).to_string();
            [
                key.purpose.as_str().replace('_', " "),
                key.kid.clone(),
                algorithm.clone(),
                key.stage.as_str().to_owned(),
                age,
            ]
        };
        let due = self.recent.value("countersign_key_rotation_due_seconds", &[]);
        let rows: Vec<_> = keys.iter().map(row).collect();
        let title = match due / 86_400.0 {
            days if days > 0.0 => format!("Keys; the next one signs in {days:.1} days"),
            _ => "Keys".to_owned(),
        };
        table(&title, &["purpose", "key", "algorithm", "stage", "for"], &rows)
    }

    fn events(&self) -> String {
        let Some(events) = &self.overview.events else {
            return absent("Newest events");
        };
        let row = |event: &ShownEvent| {
            let at = event.at.replace_nanosecond(0).unwrap_or(event.at).format(&Rfc3339).unwrap_or_default();
            let ShownEvent { actor, user, why, client_ip, .. } = event;
            [at, event.kind.replace('_', " "), actor.clone(), user.clone(), why.clone(), client_ip.clone()]
        };
        let rows: Vec<_> = events.iter().map(row).collect();
        table("Newest events", &["at", "what", "by", "user", "why", "from"], &rows)
    }
}

fn absent(title: &str) -> String {
    format!("<h2>{title}</h2>\n<p>The database does not answer.</p>\n")
}

/// A table whose columns but the first have numbers, where there are two.
fn table<const N: usize>(title: &str, heads: &[&str; N], rows: &[[String; N]]) -> String {
    let class = |place: usize| if N == 2 && place > 0 { " class=\"n\"" } else { "" };
    let cells = |tag: &str, texts: &[&str]| -> String {
        let cell = |(place, text): (usize, &&str)| format!("<{tag}{}>{}</{tag}>", class(place), escaped(text));
        texts.iter().enumerate().map(cell).collect()
    };
    let mut html = format!("<section>\n<h2>{}</h2>\n<table>\n", escaped(title));
    // Writing to a string cannot fail.
    if heads.iter().any(|head| !head.is_empty()) {
        let _ = writeln!(html, "<tr>{}</tr>", cells("th", heads));
    }
    for row in rows {
        let _ = writeln!(html, "<tr>{}</tr>", cells("td", &row.each_ref().map(String::as_str)));
    }
    if rows.is_empty() {
        html.push_str("<tr><td>nothing</td></tr>\n");
    }
    html.push_str("</table>\n</section>\n");
    html
}
