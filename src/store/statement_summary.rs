//! Summaries of statements, as spans are named: what is done to which tables, such as `UPDATE sessions`.

/// Words after which a table is named, and those that are no operations of their own where they follow another word.
const LONGEST: usize = 80;

/// The operations of a statement, each with its table, in their order.
pub(super) fn of(text: &str) -> String {
    let mut found: Vec<String> = Vec::new();
    let (mut operation, mut before) = ("", "");
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).filter(|word| !word.is_empty());
    for word in words {
        match (before, word) {
            // Of a lock, and of a conflict.
            ("FOR" | "DO" | "KEY", "UPDATE") => {}
            (_, "SELECT" | "INSERT" | "UPDATE" | "DELETE") => operation = word,
            ("FROM" | "INTO" | "UPDATE", table) if !operation.is_empty() && is_table(table) => {
                let part = format!("{operation} {table}");
                if !found.contains(&part) {
                    found.push(part);
                }
            }
            _ => {}
        }
        before = word;
    }
    let summary =
        if found.is_empty() { text.split_whitespace().next().unwrap_or_default().to_owned() } else { found.join(" ") };
    let end = summary.char_indices().map(|(at, _)| at).take_while(|at| *at <= LONGEST).last().unwrap_or(0);
    if summary.len() <= LONGEST { summary } else { summary.get(..end).unwrap_or_default().to_owned() }
}

/// True for names as our tables have them. Words of SQL are in capitals.
fn is_table(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'.')
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
            ("", ""),
        ] {
            assert_eq!(of(text), summary, "{text}");
        }
        assert_eq!(of(&format!("SELECT x FROM {}", "a".repeat(200))).len(), LONGEST);
    }
}
