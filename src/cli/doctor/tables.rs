//! The tables and what is done with them: transactions that are in the way, vacuum, and how many connections there may be.

use std::time::Duration;

use tokio::time::sleep;

use super::finding::Finding;
use crate::{
    error::Error,
    store::{
        Conn,
        inspection::{OpenTransaction, ServerFacts, TableFacts, transactions},
    },
};

/// Age of a transaction from which vacuum is held up by it.
const LONG: Duration = Duration::from_secs(600);
/// Age of a prepared transaction from which its second phase is late.
const LATE: Duration = Duration::from_secs(60);
/// Pause between two looks at who holds the head of the log: servers hold it for milliseconds.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections of a replica beside those of its pool.
const BESIDE_POOL: u64 = 9;
/// Number of dead rows below which a table is not worth a word.
const FEW: i64 = 50_000;

/// Looks for transactions that are in the way: twice, if one of them holds the head of the log.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub(super) async fn open_transactions(conn: &mut Conn) -> Result<Vec<Finding>, Error> {
    let first = transactions(conn, LONG.as_secs_f64()).await?;
    if !first.iter().any(|it| it.holds_head) {
        return Ok(in_the_way(&first, &first));
    }
    sleep(PAUSE).await;
    let second = transactions(conn, LONG.as_secs_f64()).await?;
    Ok(in_the_way(&first, &second))
}

/// Judges the transactions that were open at the second look, by those of the first.
fn in_the_way(first: &[OpenTransaction], second: &[OpenTransaction]) -> Vec<Finding> {
    const CHECK: &str = "database.transactions";
    let held_before = |it: &OpenTransaction| first.iter().any(|other| other.holds_head && other.holder == it.holder);
    let mut found = Vec::new();
    for it in second {
        let age = it.seconds.map_or_else(|| "for a second at least".to_owned(), |s| format!("for {s:.0}s"));
        let (kind, remedy) = if it.prepared {
            ("the prepared transaction", format!("COMMIT PREPARED or ROLLBACK PREPARED '{}'", it.name))
        } else {
            ("the transaction of process", format!("end it: SELECT pg_terminate_backend({})", it.name))
        };
        let (name, is_late) = (&it.name, it.prepared && it.seconds.is_none_or(|s| s > LATE.as_secs_f64()));
        if it.holds_head && held_before(it) {
            let what = format!("{kind} {name} holds revocation_head {age}: nothing can be revoked meanwhile");
            found.push(Finding::error(CHECK, what, remedy));
        } else if is_late || it.seconds.is_some_and(|s| s > LONG.as_secs_f64()) {
            let what = format!("{kind} {name} is open {age}: vacuum removes nothing that is younger");
            found.push(Finding::warning(CHECK, what, remedy));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "none holds the head of the log or is older than ten minutes"));
    }
    found
}

/// Judges whether the server has connections for all replicas, each with a pool of `pool`.
pub(super) fn connections(facts: &ServerFacts, pool: u32, replicas: usize) -> Finding {
    const CHECK: &str = "database.connections";
    let most = u64::try_from(facts.connections).unwrap_or_default();
    let limit = u64::try_from(facts.role_connections).map_or(most, |of_role| of_role.min(most));
    let each = u64::from(pool) + BESIDE_POOL;
    let replicas = u64::try_from(replicas).unwrap_or(u64::MAX).max(1);
    let wanted = each.saturating_mul(replicas);
    let what =
        format!("{replicas} replicas take up to {each} connections each, {wanted} of the {limit} that there are");
    if wanted > limit {
        let remedy =
            "raise max_connections (or the role's CONNECTION LIMIT), or lower COUNTERSIGN_DATABASE_CONNECTIONS";
        return Finding::warning(CHECK, what, remedy);
    }
    if wanted.saturating_add(each) > limit {
        let remedy = "make room for one replica more: an update starts a new one before an old one ends";
        return Finding::hint(CHECK, what, remedy);
    }
    Finding::ok(CHECK, what)
}

/// Judges whether the tables are vacuumed.
pub(super) fn vacuum(facts: &ServerFacts, tables: &[TableFacts]) -> Vec<Finding> {
    const CHECK: &str = "database.autovacuum";
    if !facts.autovacuum {
        return vec![Finding::warning(CHECK, "autovacuum is off: the tables grow for ever", "set autovacuum to on")];
    }
    let mut found: Vec<Finding> = Vec::new();
    for TableFacts { name, .. } in tables.iter().filter(|table| table.unvacuumed) {
        let remedy = format!("ALTER TABLE {name} RESET (autovacuum_enabled)");
        found.push(Finding::warning(CHECK, format_args!("autovacuum leaves out table {name}"), remedy));
    }
    for TableFacts { name, live, dead, .. } in tables.iter().filter(|it| it.dead > FEW && it.dead > it.live) {
        let what = format!("table {name} has some {dead} dead rows and {live} live ones");
        found.push(Finding::hint("database.bloat", what, format_args!("VACUUM {name}; look for old transactions")));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "on for all tables"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::{finding::Severity, testing::server_facts};

    fn open(change: impl FnOnce(&mut OpenTransaction)) -> OpenTransaction {
        let mut it = OpenTransaction {
            holder: "3/7".to_owned(),
            name: "42".to_owned(),
            prepared: false,
            holds_head: false,
            seconds: Some(700.0),
        };
        change(&mut it);
        it
    }

    fn severities(found: &[Finding]) -> Vec<Severity> {
        found.iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn who_holds_the_head_at_both_looks_is_in_the_way() {
        let holder = open(|it| (it.holds_head, it.seconds) = (true, None));
        let found = in_the_way(std::slice::from_ref(&holder), std::slice::from_ref(&holder));
        assert!(found[0].severity == Severity::Error && found[0].remedy.contains("pg_terminate_backend(42)"));
        let other = OpenTransaction { holder: "3/8".to_owned(), ..holder.clone() };
        assert_eq!(severities(&in_the_way(&[other], &[holder])), [Severity::Ok], "another one each time");
        let prepared = open(|it| (it.prepared, it.holds_head, it.name) = (true, true, "gid".to_owned()));
        let found = in_the_way(std::slice::from_ref(&prepared), std::slice::from_ref(&prepared));
        assert!(found[0].severity == Severity::Error && found[0].remedy.ends_with("ROLLBACK PREPARED 'gid'"));
    }

    #[test]
    fn old_transactions_hold_up_vacuum() {
        let judged = |it: OpenTransaction| severities(&in_the_way(&[], &[it]));
        assert_eq!(judged(open(|_| ())), [Severity::Warning]);
        assert_eq!(judged(open(|it| it.seconds = Some(3.0))), [Severity::Ok]);
        assert_eq!(judged(open(|it| (it.prepared, it.seconds) = (true, Some(3.0)))), [Severity::Ok]);
        assert_eq!(judged(open(|it| (it.prepared, it.seconds) = (true, Some(61.0)))), [Severity::Warning]);
        assert_eq!(severities(&in_the_way(&[], &[])), [Severity::Ok]);
    }

    #[test]
    fn connections_are_counted_for_all_replicas_and_one_more() {
        let judged = |pool, replicas| connections(&server_facts(), pool, replicas).severity;
        assert_eq!([judged(16, 0), judged(16, 2)], [Severity::Ok, Severity::Ok]);
        assert_eq!([judged(16, 3), judged(16, 4)], [Severity::Hint, Severity::Warning]);
        let limited = ServerFacts { role_connections: 20, ..server_facts() };
        assert_eq!(connections(&limited, 16, 1).severity, Severity::Warning);
    }

    #[test]
    fn tables_that_nobody_vacuums_are_named() {
        let table = TableFacts {
            name: "keys".to_owned(),
            owned: false,
            unvacuumed: false,
            live: 10,
            dead: 0,
            granted: Vec::new(),
        };
        let judged = |facts: &ServerFacts, table: TableFacts| severities(&vacuum(facts, &[table]));
        assert_eq!(judged(&server_facts(), table.clone()), [Severity::Ok]);
        assert_eq!(judged(&server_facts(), TableFacts { unvacuumed: true, ..table.clone() }), [Severity::Warning]);
        assert_eq!(judged(&server_facts(), TableFacts { dead: 60_000, ..table.clone() }), [Severity::Hint]);
        assert_eq!(judged(&server_facts(), TableFacts { dead: 60_000, live: 70_000, ..table.clone() }), [Severity::Ok]);
        assert_eq!(judged(&ServerFacts { autovacuum: false, ..server_facts() }, table), [Severity::Warning]);
    }
}
