//! The file that users move in and out by: one JSON object on each line.

use std::io::{self, BufRead, Read as _};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use crate::{
    auth::users::{AccountStatus, import::ImportRow},
    crypto::{foreign_hash, secret::Secret},
    domain::password_hash::Normalization,
    error::Violation,
    store::credentials::UserWithHash,
};

/// The longest line that is read, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// A user on a line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    username: String,
    password_hash: Zeroizing<String>,
    /// True if the password went through NFKC before it was hashed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    nfkc: bool,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    disabled: bool,
    /// The time of creation as in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong. serde's own words may quote the line.
    pub(super) fn parse(line: &[u8]) -> Result<ImportRow, Violation> {
        let line: Self = serde_json::from_slice(line).map_err(|error| {
            let form = "not a JSON object of username, password_hash, nfkc, roles, disabled, created_at";
            Violation { field: "line", description: format!("{form}, at column {}", error.column()) }
        })?;
        let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339);
        let created_at = line
            .created_at
            .as_deref()
            .map(moment)
            .transpose()
            .map_err(|_| Violation { field: "created_at", description: "a moment by RFC 3339".to_owned() })?;
        Ok(ImportRow {
            username: line.username,
            password_hash: Secret::new(line.password_hash.as_str().to_owned()),
            normalization: if line.nfkc { Normalization::Nfkc } else { Normalization::Typed },
            roles: line.roles,
            status: if line.disabled { AccountStatus::Disabled } else { AccountStatus::Enabled },
            created_at,
        })
    }

    /// The line that is written of a user.
    pub(super) fn of(credentials: UserWithHash) -> Self {
        let UserWithHash { user, password_hash } = credentials;
        let (text, normalization) = foreign_hash::exported(password_hash);
        Self {
            username: user.username.as_str().to_owned(),
            password_hash: text,
            nfkc: normalization == Normalization::Nfkc,
            roles: user.roles,
            disabled: user.disabled_at.is_some(),
            created_at: user.created_at.format(&Rfc3339).ok(),
        }
    }
}

/// The next line, without its end; None at the end of the file.
///
/// # Errors
/// Those of the file. A line that is too long is read to its end, and given as an error of its own.
pub(super) fn next_line(input: &mut dyn BufRead) -> io::Result<Option<Result<Zeroizing<Vec<u8>>, Violation>>> {
    let mut line = Zeroizing::new(Vec::new());
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    if input.take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() == MAX_LINE && line.last() != Some(&b'\n') {
        input.skip_until(b'\n')?;
        return Ok(Some(Err(Violation { field: "line", description: format!("below {MAX_LINE} bytes") })));
    }
    let length = line.trim_ascii_end().len();
    line.truncate(length);
    Ok(Some(Ok(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_whatever_their_length() {
        let long = "x".repeat(MAX_LINE);
        let text = format!("a\r\n\n{long}\nb");
        let mut input = text.as_bytes();
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).expect("read") {
            lines.push(line.map(|line| line.to_vec()).map_err(|violation| violation.field));
        }
        assert_eq!(lines, [Ok(b"a".to_vec()), Ok(vec![]), Err("line"), Ok(b"b".to_vec())]);
    }

    #[test]
    fn r63_a_line_that_cannot_be_read_is_never_quoted() {
        for bad in [
            r#"{"username":"a","password_hash":"hunter2""#,
            r#"{"username":"a","password_hash":"x","roles":"hunter2"}"#,
            r#"{"username":"a","password_hash":"x","hunter2":1}"#,
            r#"{"username":"a","password_hash":"x","created_at":"hunter2"}"#,
            r#""hunter2""#,
            "hunter2",
        ] {
            let violation = Line::parse(bad.as_bytes()).expect_err("refused");
            assert!(!violation.description.contains("hunter2"), "{violation:?}");
        }
    }
}
