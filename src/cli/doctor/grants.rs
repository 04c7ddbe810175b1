//! The role: whether it may do what `serve` does, and whether it may do more.

use super::finding::Finding;
use crate::store::inspection::{NEEDS, ServerFacts, TableFacts};

const CHECK: &str = "database.grants";

/// Judges the role by the schema, which it may not see, and by what it may do with the tables that are there.
pub(super) fn judge(facts: &ServerFacts, tables: &[TableFacts]) -> Vec<Finding> {
    let role = &facts.role;
    let Some(schema) = &facts.schema else {
        let remedy = format!("GRANT USAGE ON SCHEMA public TO {role}");
        return vec![Finding::error(CHECK, format_args!("{role} may use no schema of its search_path"), remedy)];
    };
    let mut found: Vec<Finding> = tables.iter().filter_map(|table| lacking(role, schema, table)).collect();
    if !facts.names_cluster {
        let remedy = format!("GRANT EXECUTE ON FUNCTION pg_control_system() TO {role}");
        found.push(Finding::error(CHECK, format_args!("{role} may not ask which cluster this is"), remedy));
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, format_args!("{role} may do what `serve` does")));
    }
    found.extend(more(facts, tables));
    found
}

/// The privileges on a table that `serve` needs and the role lacks.
fn lacking(role: &str, schema: &str, table: &TableFacts) -> Option<Finding> {
    let (_, needed) = NEEDS.iter().find(|(name, _)| *name == table.name)?;
    let lacks: Vec<&str> =
        needed.iter().copied().filter(|it| !table.granted.iter().any(|granted| granted == it)).collect();
    if lacks.is_empty() {
        return None;
    }
    let (lacks, name) = (lacks.join(", "), &table.name);
    let remedy = format!("GRANT {lacks} ON {schema}.{name} TO {role}");
    Some(Finding::error(CHECK, format_args!("{role} lacks {lacks} on {name}"), remedy))
}

/// The role's powers beyond what `serve` needs.
fn more(facts: &ServerFacts, tables: &[TableFacts]) -> Option<Finding> {
    let powers = if facts.superuser {
        "is a superuser"
    } else if tables.iter().any(|table| table.owned) {
        "owns the tables"
    } else if facts.creates {
        "may create tables"
    } else {
        return None;
    };
    let what = format!("{} {powers}, which `serve` does not need", facts.role);
    Some(Finding::hint("database.role", what, "let a role of its own serve: docs/operating.md, roles of the database"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::{finding::Severity, testing::server_facts};

    fn table(name: &str, granted: &[&str]) -> TableFacts {
        let granted = granted.iter().map(|it| (*it).to_owned()).collect();
        TableFacts { name: name.to_owned(), owned: false, unvacuumed: false, live: 0, dead: 0, granted }
    }

    #[test]
    fn what_serve_needs_is_enough() {
        let tables: Vec<TableFacts> = NEEDS.iter().map(|(name, needed)| table(name, needed)).collect();
        assert_eq!(judge(&server_facts(), &tables), [Finding::ok(CHECK, "app may do what `serve` does")]);
    }

    #[test]
    fn a_grant_that_is_missing_is_named_with_its_statement() {
        let found = judge(
            &server_facts(),
            &[table("keys", &["SELECT", "UPDATE"]), table("service_clock", &["SELECT", "UPDATE"])],
        );
        let remedy = "GRANT INSERT, DELETE ON public.keys TO app";
        assert_eq!(found, [Finding::error(CHECK, "app lacks INSERT, DELETE on keys", remedy)]);
        let found = judge(&ServerFacts { schema: None, ..server_facts() }, &[]);
        assert_eq!(found[0].remedy, "GRANT USAGE ON SCHEMA public TO app");
        let found = judge(&ServerFacts { names_cluster: false, ..server_facts() }, &[]);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Error));
    }

    #[test]
    fn powers_that_nobody_needs_are_a_hint() {
        let owned = TableFacts { owned: true, ..table("keys", NEEDS[6].1) };
        for (facts, tables, said) in [
            (ServerFacts { superuser: true, ..server_facts() }, vec![], "is a superuser"),
            (server_facts(), vec![owned], "owns the tables"),
            (ServerFacts { creates: true, ..server_facts() }, vec![], "may create tables"),
        ] {
            let found = judge(&facts, &tables);
            assert!(found.len() == 2 && found[1].severity == Severity::Hint, "{found:?}");
            assert!(found[1].what.contains(said), "{found:?}");
        }
    }
}
