//! Summaries of statements, as spans are named: what is done to which tables, such as `UPDATE sessions`.

/// Characters of a summary.
const LONGEST: usize = 80;

/// The operations of a statement, each with its table, in their order; its first word if it names no table.
pub(super) fn of(text: &str) -> String {
    let mut summary = String::new();
    let (mut operation, mut before) = ("", "");
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
    for word in words {
        match (before, word) {
            // The rest of a lock's name, and of a conflict's.
            ("FOR" | "DO" | "KEY", "UPDATE") => {}
            (_, "SELECT" | "INSERT" | "UPDATE" | "DELETE") => operation = word,
            ("FROM" | "INTO" | "UPDATE", table) if !operation.is_empty() && is_table(table, text) => {
                let part = format!("{operation} {table}");
                if !summary.contains(&part) && summary.len() + part.len() < LONGEST {
                    summary.push_str(if summary.is_empty() { "" } else { " " });
                    summary.push_str(&part);
                }
            }
            _ => {}
        }
        before = word;
    }
    if summary.is_empty() { text.split_whitespace().next().unwrap_or_default().to_owned() } else { summary }
}

/// True for a name of a table. Words of SQL are in capitals; functions and named parts of the statement are no tables.
fn is_table(word: &str, text: &str) -> bool {
    let is_name = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_name && !text.contains(&format!("{word}(")) && !text.contains(&format!("{word} AS ("))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_is_done_to_which_tables() {
        for (text, summary) in [
            ("BEGIN", "BEGIN"),
            ("SELECT 1", "SELECT"),
            ("SELECT id FROM users WHERE username = $1 FOR UPDATE", "SELECT users"),
            ("INSERT INTO audit_events (at) SELECT $1", "INSERT audit_events"),
            ("UPDATE sessions SET x = 1 WHERE id = $1", "UPDATE sessions"),
            ("INSERT INTO a (b) VALUES ($1) ON CONFLICT (b) DO UPDATE SET b = 1", "INSERT a"),
            ("DELETE FROM a WHERE b IN (SELECT b FROM c)", "DELETE a SELECT c"),
            ("WITH old AS (SELECT * FROM a, unnest($1)) INSERT INTO b SELECT * FROM old", "SELECT a INSERT b"),
            ("", ""),
        ] {
            assert_eq!(of(text), summary, "{text}");
        }
        let many: Vec<String> = ('a'..='z').map(|table| format!("SELECT x FROM {table}")).collect();
        assert!(of(&many.join(" UNION ")).len() <= LONGEST);
    }
}
