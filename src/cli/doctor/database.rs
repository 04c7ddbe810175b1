//! The database server: what it is, how it is reached, and whether it commits. What was read is judged by pure functions.

use std::time::Duration;

use countersign_token::clock::Clock;
use time::OffsetDateTime;

use super::finding::Finding;
use crate::{
    domain::policy::CLOCK_DISTANCE,
    error::Error,
    store::{
        Conn, Migrations, Store,
        compatibility::{ENCODING, NEWEST, OLDEST, Support},
        inspection::{ServerFacts, Verified, Way, server},
        proofs,
        replication::{self, Replication, Seen},
    },
};

const MIGRATE: &str = "run `countersign migrate` as the owner of the tables";

/// Connects; else says why it cannot.
pub(super) async fn reach(store: &Store, found: &mut Vec<Finding>) -> Option<(Conn, ServerFacts)> {
    let reached = async {
        let mut conn = store.connect_to_inspect().await?;
        let facts = server(&mut conn).await?;
        Ok((conn, facts))
    };
    match reached.await {
        Ok((conn, facts)) => {
            found.push(Finding::ok("database.reachable", format_args!("{} answers", store.place())));
            Some((conn, facts))
        }
        Err(error) => {
            let remedy = "start it, let this machine and role in, or correct COUNTERSIGN_DATABASE_URL";
            found.extend(Finding::of("database.reachable", &error, remedy));
            None
        }
    }
}

/// Judges the server by what it says of itself.
pub(super) async fn check(store: &Store, conn: &mut Conn, facts: &ServerFacts) -> Vec<Finding> {
    let unread = |error: Error| Finding::of("database.replication", &error, "").remove(0);
    vec![
        store.way().map_or_else(unread, |way| tls(way, facts.encrypted)),
        version(facts),
        encoding(facts),
        primary(facts),
        replication::look(conn).await.map_or_else(unread, |seen| replicated(&seen)),
    ]
}

/// Judges the schema. True if it is one that can be looked into.
pub(super) async fn schema(store: &Store, found: &mut Vec<Finding>) -> bool {
    match store.migrations().await {
        Ok(migrations) => {
            found.extend(migrated(&migrations));
            migrations.missing == 0
        }
        Err(error) => {
            found.extend(Finding::of(
                "database.migrations",
                &error,
                "see database.grants, or look at the server's log",
            ));
            false
        }
    }
}

/// Commits a row as each answer of a server does.
pub(super) async fn commits(conn: &mut Conn) -> Finding {
    let committed = async {
        conn.begin().await?;
        proofs::commit(conn).await
    };
    match committed.await {
        Ok(()) => Finding::ok("database.commits", "a statement that writes was committed"),
        Err(error) => Finding::error(
            "database.commits",
            format_args!("nothing can be committed: {error}"),
            "look for a full disk, a standby that does not confirm, a lock, or a grant that is missing",
        ),
    }
}

/// Compares the clock of this machine with the database's.
pub(super) async fn clock(store: &Store, most: Duration) -> Finding {
    let clock = Clock::system();
    let before = clock.now();
    match store.clock().await {
        Ok(there) => clocks(distance(before, there, clock.now()), most),
        Err(error) => Finding::error("database.clock", error, "see database.reachable"),
    }
}

/// Distance of a clock from ours, which was read before and after it.
fn distance(before: OffsetDateTime, there: OffsetDateTime, after: OffsetDateTime) -> Duration {
    let ahead = there - after;
    let behind = before - there;
    Duration::try_from(ahead.max(behind)).unwrap_or_default()
}

fn clocks(distance: Duration, most: Duration) -> Finding {
    const CHECK: &str = "database.clock";
    const REMEDY: &str = "set both clocks by NTP";
    let apart = format!("this machine's clock and the database's are {:.1}s apart", distance.as_secs_f64());
    if distance > most {
        let limit = humantime::format_duration(most);
        return Finding::error(CHECK, format_args!("{apart}: beyond {limit} a server signs nothing"), REMEDY);
    }
    match distance > CLOCK_DISTANCE {
        true => Finding::warning(CHECK, format_args!("{apart}: tokens live too short or too long"), REMEDY),
        false => Finding::ok(CHECK, apart),
    }
}

fn tls(way: Way, encrypted: bool) -> Finding {
    const CHECK: &str = "database.tls";
    const REMEDY: &str = "add ?sslmode=verify-full&sslrootcert=FILE to the URL";
    match (encrypted, way.verified) {
        (_, _) if way.is_local => Finding::ok(CHECK, "the connection does not leave this machine"),
        (false, _) => Finding::warning(CHECK, "the connection is not encrypted", REMEDY),
        (true, Verified::Nothing) => {
            let what = "the connection is encrypted, and nobody verifies the server's certificate";
            Finding::warning(CHECK, what, REMEDY)
        }
        (true, Verified::Ca) => Finding::hint(CHECK, "encrypted; the CA is verified, and not the host's name", REMEDY),
        (true, Verified::Host) => Finding::ok(CHECK, "encrypted, and the server's certificate is verified"),
    }
}

fn version(facts: &ServerFacts) -> Finding {
    const CHECK: &str = "database.version";
    let version = &facts.version;
    let supported = format!("{OLDEST} to {NEWEST} are supported");
    match Support::of(u32::try_from(facts.version_num).unwrap_or_default()) {
        Support::Tested => Finding::ok(CHECK, format_args!("Postgres {version}")),
        Support::Newer { .. } => Finding::hint(
            CHECK,
            format_args!("Postgres {version} is newer than those that were tested"),
            format_args!("{supported}: try it out before you rely on it"),
        ),
        Support::TooOld { .. } => {
            Finding::error(CHECK, format_args!("Postgres {version} is too old: {supported}"), "upgrade it")
        }
    }
}

fn encoding(facts: &ServerFacts) -> Finding {
    const CHECK: &str = "database.encoding";
    let encoding = &facts.encoding;
    if encoding == ENCODING {
        return Finding::ok(CHECK, encoding);
    }
    let remedy = format!("dump it, create one with ENCODING '{ENCODING}' TEMPLATE template0, and restore it there");
    Finding::error(CHECK, format_args!("the database is in {encoding}, which cannot store any name"), remedy)
}

fn primary(facts: &ServerFacts) -> Finding {
    const CHECK: &str = "database.primary";
    if facts.in_recovery {
        let remedy = "name the primary, or all hosts with target_session_attrs=read-write";
        return Finding::error(CHECK, "the server is a standby, which accepts no writes", remedy);
    }
    match facts.read_only {
        true => Finding::error(
            CHECK,
            "transactions are read-only",
            "set default_transaction_read_only to off for the server, the database and the role",
        ),
        false => Finding::ok(CHECK, "the server accepts writes"),
    }
}

fn replicated(seen: &Replication) -> Finding {
    const CHECK: &str = "database.replication";
    let count = seen.standbys;
    match seen.seen() {
        Seen::Waiting => Finding::ok(
            CHECK,
            format_args!("commits wait for {}; {count} standbys are connected", seen.synchronous_standby_names.trim()),
        ),
        Seen::NotWaiting => Finding::hint(
            CHECK,
            format_args!(
                "{count} standbys are connected, and no commit waits for them: a failover may lose revocations"
            ),
            "set synchronous_standby_names, or fence the old primary before a promotion (README, P1)",
        ),
        Seen::Alone => Finding::hint(
            CHECK,
            "no standby is connected: what was committed is lost with this server",
            "add a standby for which commits wait, if that matters",
        ),
    }
}

fn migrated(migrations: &Migrations) -> Vec<Finding> {
    const CHECK: &str = "database.migrations";
    let list = |versions: &[i64]| versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut found = Vec::new();
    if migrations.missing > 0 {
        found.push(Finding::error(CHECK, format_args!("{} migrations are missing", migrations.missing), MIGRATE));
    }
    if !migrations.newer.is_empty() {
        let newer = list(&migrations.newer);
        let what = format!("the schema has migration {newer}, which this version of countersign does not know");
        found.push(Finding::warning(CHECK, what, "use the newer version; the changelog says what old servers may do"));
    }
    if !migrations.changed.is_empty() {
        let what = format!("migration {} is another one than here", list(&migrations.changed));
        let remedy = "the database is not countersign's, or another build's: use that, or another database";
        found.push(Finding::error(CHECK, what, remedy));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "all have been made"));
    }
    found
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::cli::doctor::{finding::Severity, testing::server_facts};

    fn facts(change: impl FnOnce(&mut ServerFacts)) -> ServerFacts {
        let mut facts = server_facts();
        change(&mut facts);
        facts
    }

    #[test]
    fn a_sound_server_is_well() {
        let facts = facts(|_| ());
        for finding in [version(&facts), encoding(&facts), primary(&facts)] {
            assert_eq!(finding.severity, Severity::Ok, "{finding:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_server_is_said() {
        let severity = |finding: Finding| finding.severity;
        assert_eq!(severity(version(&facts(|f| f.version_num = 110_000))), Severity::Error);
        assert_eq!(severity(version(&facts(|f| f.version_num = 190_000))), Severity::Hint);
        assert_eq!(severity(encoding(&facts(|f| f.encoding = "LATIN1".to_owned()))), Severity::Error);
        assert_eq!(severity(primary(&facts(|f| f.in_recovery = true))), Severity::Error);
        assert_eq!(severity(primary(&facts(|f| f.read_only = true))), Severity::Error);
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_and_verified() {
        let way = |is_local, verified| Way { is_local, verified };
        for (way, encrypted, expected) in [
            (way(true, Verified::Nothing), false, Severity::Ok),
            (way(false, Verified::Host), true, Severity::Ok),
            (way(false, Verified::Ca), true, Severity::Hint),
            (way(false, Verified::Nothing), true, Severity::Warning),
            (way(false, Verified::Host), false, Severity::Warning),
        ] {
            assert_eq!(tls(way, encrypted).severity, expected, "{way:?} {encrypted}");
        }
    }

    #[test]
    fn clocks_are_judged_as_a_server_judges_them() {
        let now = datetime!(2030-01-01 00:00:00 UTC);
        let second = Duration::from_secs(1);
        assert_eq!(distance(now, now + second / 2, now + second), Duration::ZERO);
        assert_eq!(distance(now, now + 3 * second, now + second), 2 * second);
        assert_eq!(distance(now, now - 3 * second, now + second), 3 * second);
        for (seconds, expected) in [
            (0, Severity::Ok),
            (5, Severity::Ok),
            (6, Severity::Warning),
            (60, Severity::Warning),
            (61, Severity::Error),
        ] {
            assert_eq!(clocks(seconds * second, 60 * second).severity, expected, "{seconds}");
        }
    }

    #[test]
    fn migrations_that_lack_or_are_others_are_said() {
        let worst = |migrations: Migrations| migrated(&migrations).iter().map(|f| f.severity).collect::<Vec<_>>();
        assert_eq!(worst(Migrations::default()), [Severity::Ok]);
        assert_eq!(worst(Migrations { missing: 2, ..Migrations::default() }), [Severity::Error]);
        let others = Migrations { missing: 0, newer: vec![99], changed: vec![3] };
        assert_eq!(worst(others), [Severity::Warning, Severity::Error]);
    }

    #[test]
    fn commits_that_wait_for_nobody_are_a_hint() {
        let seen = |names: &str, standbys| {
            replicated(&Replication { synchronous_standby_names: names.to_owned(), standbys }).severity
        };
        assert_eq!([seen("", 0), seen("", 2), seen("a", 1)], [Severity::Hint, Severity::Hint, Severity::Ok]);
    }
}
