//! The rooms of the picture as tables: calls, outcomes, passwords, the database, replicas, keys, events.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    picture::Picture,
    replica::{Seen, Told},
    table::{
        Mood, Side,
        Side::{Left, Right},
        Table,
    },
};
use crate::{
    auth::overview::{ShownEvent, ShownKey},
    domain::key::{Purpose, Stage},
    metrics::{Recent, rate, time, whole},
};

const HANDLED: &str = "grpc_server_handled_total";
const AGE: &str = "countersign_revocation_freshness_age_seconds";
const BOUND: &str = "countersign_revocation_freshness_bound_seconds";
const NO_DATABASE: &str = "give --database-url, or COUNTERSIGN_DATABASE_URL, to see them";

/// Counters by outcome: the word before it, the metric, and its label.
const OUTCOMES: [(&str, &str, &str); 4] = [
    ("login", "countersign_logins_total", "result"),
    ("refresh", "countersign_refreshes_total", "outcome"),
    ("token", "countersign_verifications_total", "result"),
    ("proxy", "countersign_decisions_total", "decision"),
];

/// The rooms, as tables.
pub(super) struct Rooms {
    pub(super) calls: Table,
    pub(super) outcomes: Table,
    pub(super) passwords: Table,
    pub(super) database: Table,
    pub(super) replicas: Table,
    pub(super) keys: Table,
    pub(super) events: Table,
}

impl Rooms {
    pub(super) fn of(picture: &Picture) -> Self {
        let all = picture.together();
        Self {
            calls: calls(&all),
            outcomes: outcomes(&all),
            passwords: passwords(&all),
            database: database(&all),
            replicas: replicas(picture),
            keys: keys(picture),
            events: events(picture),
        }
    }
}

fn calls(all: &Recent) -> Table {
    let heads = [("Calls", Left), ("   per s", Right), ("not OK", Right), ("    p50", Right), ("    p99", Right)];
    let mut table = Table::new(&heads);
    let names = ["grpc_service", "grpc_method"];
    let methods = all.label_values(HANDLED, names);
    for [service, method] in &methods {
        let of = [(names[0], service.as_str()), (names[1], method.as_str())];
        let rate_of_all = all.per_second(HANDLED, &of);
        if rate_of_all <= 0.0 {
            continue;
        }
        let ok = all.per_second(HANDLED, &[of[0], of[1], ("grpc_code", "OK")]);
        let took = |q| time(all.quantile("grpc_server_handling_seconds", &of, q));
        // Services have methods of the same name: Check. Two versions of a service are no other services.
        let is_shared = methods.iter().any(|[other, of]| of == method && short(other) != short(service));
        let name = if is_shared { format!("{}/{method}", short(service)) } else { method.clone() };
        table.row(Mood::Plain, &[name, rate(rate_of_all), rate((rate_of_all - ok).max(0.0)), took(0.5), took(0.99)]);
    }
    table.or_say(if all.span().is_zero() { "rates come with the second sample" } else { "none" })
}

/// The name of a service without its package, which would leave no place for the outcomes on a narrow terminal.
fn short(service: &str) -> &str {
    service.rsplit('.').next().unwrap_or_default()
}

fn outcomes(all: &Recent) -> Table {
    // The number comes first, so that a narrow terminal cuts words.
    let mut table = Table::new(&[("   per s", Right), ("Outcomes", Left)]);
    for (word, metric, label) in OUTCOMES {
        for (outcome, per_second) in all.rates_by(metric, label) {
            let words = format!("{word} {}", outcome.replace('_', " "));
            table.row(Mood::Plain, &[rate(per_second), words]);
        }
    }
    table.or_say("none")
}

/// Rows of a name and a value each; there is none where no replica answers.
fn facts<const N: usize>(title: &str, all: &Recent, rows: [(&str, String); N]) -> Table {
    let mut table = Table::new(&[(title, Left), ("       ", Right)]);
    for (name, value) in rows {
        table.row(Mood::Plain, &[name.to_owned(), if all.is_empty() { "-".to_owned() } else { value }]);
    }
    table
}

fn passwords(all: &Recent) -> Table {
    let took = |name, q| time(all.quantile(name, &[], q));
    let rows = [
        ("waiting now", whole(all.value("countersign_password_hash_queue", &[]))),
        ("wait p99", took("countersign_password_hash_wait_seconds", 0.99)),
        ("hash p50", took("countersign_password_hash_seconds", 0.5)),
        ("shed per s", rate(all.per_second("countersign_password_hash_shed_total", &[]))),
    ];
    facts("Passwords", all, rows)
}

fn database(all: &Recent) -> Table {
    const STATEMENTS: &str = "countersign_database_statement_seconds";
    let connections = |state| whole(all.value("countersign_database_connections", &[("state", state)]));
    let most = whole(all.value("countersign_database_connections_max", &[]));
    let failed =
        ["conflict", "unavailable", "internal"].map(|outcome| all.per_second(STATEMENTS, &[("outcome", outcome)]));
    let unserved = all.per_second("countersign_database_acquire_failures_total", &[]);
    let rows = [
        ("used, idle, most", format!("{}, {}, {most}", connections("used"), connections("idle"))),
        ("wait p99", time(all.quantile("countersign_database_acquire_seconds", &[], 0.99))),
        ("statement p99", time(all.quantile(STATEMENTS, &[("outcome", "ok")], 0.99))),
        ("failed per s", rate(failed.iter().sum::<f64>() + unserved)),
    ];
    facts("Database", all, rows)
}

fn replicas(picture: &Picture) -> Table {
    let heads: [(&str, Side); 9] = [
        ("Replica", Left),
        ("version", Left),
        ("calls/s", Right),
        ("age", Right),
        ("bound", Right),
        ("index", Right),
        ("follow", Right),
        ("conf p99", Right),
        ("state", Left),
    ];
    let mut table = Table::new(&heads);
    for seen in picture.replicas.iter().flatten() {
        match &seen.state {
            Ok(told) => {
                let (mood, state) = freshness(told);
                table.row(mood, &numbers(seen, told, state));
            }
            // The sentence begins with the name.
            Err(why) => table.row(Mood::Error, std::slice::from_ref(why)),
        }
    }
    for (facts, replica) in picture.facts().into_iter().flat_map(|facts| picture.elsewhere().map(move |it| (facts, it)))
    {
        let mood = if replica.seen.is_silent() { Mood::Warning } else { Mood::Plain };
        table.row(mood, &[format!("{} at none of the URLs: {}", replica.seen.id, facts.state(replica))]);
    }
    table.or_say("being asked")
}

fn numbers(seen: &Seen, told: &Told, state: &str) -> [String; 9] {
    let recent = &told.recent;
    let value = |name| recent.value(name, &[]);
    let confirmed = recent.quantile("countersign_revocation_confirmation_seconds", &[("confirmed", "true")], 0.99);
    let age = value(AGE);
    [
        seen.name.clone(),
        told.version(),
        rate(recent.per_second(HANDLED, &[])),
        if age.is_finite() { format!("{age:.1} s") } else { "none".to_owned() },
        format!("{:.0} s", value(BOUND)),
        whole(value("countersign_revocation_index_entries")),
        whole(value("countersign_watchers")),
        time(confirmed),
        state.to_owned(),
    ]
}

/// The freshness of what a replica knows, in a word.
fn freshness(told: &Told) -> (Mood, &'static str) {
    let (age, bound) = (told.recent.value(AGE, &[]), told.recent.value(BOUND, &[]));
    match () {
        () if age > bound => (Mood::Error, "STALE, refuses"),
        () if age > bound / 2.0 => (Mood::Warning, "LATE"),
        () => (Mood::Plain, "fresh"),
    }
}

fn keys(picture: &Picture) -> Table {
    let title = picture.answering().next().map_or_else(|| "Keys".to_owned(), |(_, told)| due(&told.recent));
    let Some(facts) = &picture.facts else {
        return keys_as_counted(picture, &title);
    };
    let mut table = Table::new(&[
        (&title, Left),
        ("stage", Left),
        ("for", Left),
        ("made", Left),
        ("algorithm", Left),
        ("key", Left),
    ]);
    let known = facts.as_ref().ok().and_then(|facts| facts.overview.keys.as_ref());
    for ShownKey { key, algorithm, made_at } in known.into_iter().flatten() {
        let cells = [
            words(key.purpose),
            key.stage.as_str().to_owned(),
            coarse(Duration::from_secs(key.age.as_secs())),
            second(*made_at),
            algorithm.clone(),
            key.kid.clone(),
        ];
        table.row(if key.stage == Stage::Killed { Mood::Warning } else { Mood::Plain }, &cells);
    }
    table.or_say("the database does not answer")
}

/// The title of the keys: when the next one signs.
fn due(recent: &Recent) -> String {
    let seconds = recent.value("countersign_key_rotation_due_seconds", &[]);
    if seconds > 0.0 { format!("Keys (next in {:.1} days)", seconds / 86_400.0) } else { "Keys".to_owned() }
}

/// The keys by purpose and stage, as a replica counts them.
fn keys_as_counted(picture: &Picture, title: &str) -> Table {
    let stages = Stage::ALL.map(|stage| (stage.as_str(), Right));
    let mut table = Table::new(&[&[(title, Left)][..], &stages, &[("", Left)]].concat());
    for (place, purpose) in Purpose::ALL.into_iter().enumerate().filter(|_| picture.answering().next().is_some()) {
        let count = |stage: Stage| {
            let of = [("purpose", purpose.as_str()), ("stage", stage.as_str())];
            let counted = picture.answering().map(|(_, told)| told.recent.value("countersign_keys", &of));
            whole(counted.fold(0.0, f64::max))
        };
        let advice = if place == 0 && !picture.has_database { NO_DATABASE } else { "" };
        let cells = [vec![words(purpose)], Stage::ALL.map(count).to_vec(), vec![advice.to_owned()]].concat();
        table.row(Mood::Plain, &cells);
    }
    table.or_say(NO_DATABASE)
}

fn words(purpose: Purpose) -> String {
    purpose.as_str().replace('_', " ")
}

fn events(picture: &Picture) -> Table {
    let heads = [("Newest events", Left), ("what", Left), ("by", Left), ("user", Left), ("why", Left), ("from", Left)];
    let mut table = Table::new(&heads);
    for event in picture.events().unwrap_or_default() {
        let ShownEvent { at, kind, actor, user, why, client_ip } = event;
        let cells = [second(*at), kind.replace('_', " "), actor.clone(), user.clone(), why.clone(), client_ip.clone()];
        table.row(Mood::Plain, &cells);
    }
    table.or_say(match (picture.has_database, picture.events()) {
        (false, _) => NO_DATABASE,
        (true, Some(_)) => "none",
        (true, None) => "the database does not answer",
    })
}

/// A moment for people, in UTC.
pub(super) fn second(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// A time in its two greatest units.
fn coarse(time: Duration) -> String {
    let text = humantime::format_duration(time).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::{
        picture::News,
        table::Paint,
        testing::{BEFORE, NOW, told},
    };

    fn lines(table: &Table) -> Vec<String> {
        table.lines(Paint::Plain).iter().map(ToString::to_string).collect()
    }

    /// A picture of replicas that told these texts.
    fn picture(replicas: &[&[&str]]) -> Picture {
        let mut picture = Picture::new(replicas.len(), false);
        for (place, texts) in replicas.iter().enumerate() {
            let seen = Seen { name: format!("r:{place}"), id: None, state: Ok(told(texts)) };
            picture.take(News::Replica(place, seen));
        }
        picture
    }

    #[test]
    fn rates_of_replicas_are_added_and_their_states_stand_apart() {
        let rooms = Rooms::of(&picture(&[&[BEFORE, NOW], &[BEFORE, NOW]]));
        assert_eq!(lines(&rooms.calls)[1], "Login      4.00    1.00    25 ms    50 ms");
        assert_eq!(lines(&rooms.outcomes)[1..], ["    3.00  login ok", "    1.00  login invalid credentials"]);
        assert_eq!(
            lines(&rooms.passwords)[1..],
            ["waiting now        4", "wait p99           -", "hash p50           -", "shed per s      0.20"]
        );
        assert_eq!(lines(&rooms.database)[1], "used, idle, most  2, 4, 32");
        let replicas = lines(&rooms.replicas);
        assert_eq!(replicas[1], "r:0      0.1.0       2.00  0.5 s   30 s      7       3         -  fresh");
        assert_eq!(replicas.len(), 3);
        assert!(lines(&rooms.keys)[0].starts_with("Keys (next in 2.0 days)"), "{:?}", lines(&rooms.keys));
        assert!(lines(&rooms.keys)[1].ends_with(NO_DATABASE) && lines(&rooms.events)[1] == NO_DATABASE);
    }

    #[test]
    fn methods_of_one_name_are_told_apart_by_their_services() {
        let text = |count| {
            let of = |service: &str| {
                format!(
                    "grpc_server_handled_total{{grpc_service=\"{service}\",grpc_method=\"Check\",grpc_code=\"OK\"}} {count}"
                )
            };
            let kind = "# TYPE grpc_server_handled_total counter";
            let reflection = ["v1", "v1alpha"].map(|version| {
                of(&format!("grpc.reflection.{version}.ServerReflection"))
                    .replace("\"Check\"", "\"ServerReflectionInfo\"")
            });
            let checks = [of("grpc.health.v1.Health"), of("envoy.service.auth.v3.Authorization")];
            [vec![kind.to_owned()], checks.to_vec(), reflection.to_vec(), vec![String::new()]].concat().join("\n")
        };
        let rooms = Rooms::of(&picture(&[&[&text(0), &text(10)]]));
        let mut names: Vec<String> = lines(&rooms.calls)[1..].iter().map(|line| line.replace(' ', "")).collect();
        names.sort();
        let starts =
            ["Authorization/Check1.00", "Health/Check1.00", "ServerReflectionInfo1.00", "ServerReflectionInfo1.00"];
        assert!(names.iter().zip(starts).all(|(name, start)| name.starts_with(start)), "{names:?}");
        assert_eq!(names.len(), starts.len(), "{names:?}");
    }

    #[test]
    fn a_replica_that_was_asked_once_has_no_rates_and_none_is_no_zero() {
        let rooms = Rooms::of(&picture(&[&[NOW]]));
        assert_eq!(lines(&rooms.calls)[1], "rates come with the second sample");
        let rooms = Rooms::of(&Picture::new(1, false));
        assert_eq!(lines(&rooms.passwords)[1], "waiting now        -");
        assert_eq!(lines(&rooms.replicas)[1], "being asked");
    }

    #[test]
    fn freshness_is_a_word() {
        let told = |age: &str| told(&[&format!("{AGE} {age}\n{BOUND} 30\n")]);
        let word = |age| freshness(&told(age));
        assert_eq!(word("15"), (Mood::Plain, "fresh"));
        assert_eq!(word("15.1"), (Mood::Warning, "LATE"));
        assert_eq!(word("30.1"), (Mood::Error, "STALE, refuses"));
        assert_eq!(word("+Inf"), (Mood::Error, "STALE, refuses"));
    }

    #[test]
    fn a_time_has_two_units() {
        assert_eq!(coarse(Duration::from_secs(90_061)), "1day 1h");
        assert_eq!(coarse(Duration::from_secs(59)), "59s");
    }
}
