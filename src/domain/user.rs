//! A user, its name and its roles.

use std::fmt;

use countersign_token::ids::UserId;
use icu_casemap::CaseMapper;
use icu_properties::{CodePointMapData, props::GeneralCategory};
use time::OffsetDateTime;
use unicode_normalization::UnicodeNormalization;

use crate::error::Error;

/// Length of the longest address of e-mail (RFC 5321 section 4.5.3.1.3, less the brackets).
const MAX_NAME_CHARS: usize = 254;
const MAX_NAME_BYTES: usize = 4 * MAX_NAME_CHARS;
const MAX_ROLES: usize = 64;
const MAX_ROLE_BYTES: usize = 64;

/// A stored user, without its password hash.
#[derive(Clone, Debug)]
pub struct User {
    /// The id of the user.
    pub id: UserId,
    /// The name of the user.
    pub username: Username,
    /// The roles of the user; of meaning to the services that verify tokens.
    pub roles: Vec<String>,
    /// Tokens with a lower epoch are dead.
    pub epoch: i64,
    /// Set while the user may not log in.
    pub disabled_at: Option<OffsetDateTime>,
    /// The moment at which the password was last set.
    pub password_changed_at: OffsetDateTime,
    /// The moment at which the user was created.
    pub created_at: OffsetDateTime,
    /// The moment at which the user was last changed.
    pub updated_at: OffsetDateTime,
}

/// A user's name as it is stored and compared: NFKC, case-folded, no white space, control or invisible characters. So
/// names that differ in case or Unicode form only are one name (REQUIREMENTS R57).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Username(String);

impl Username {
    /// Normalises and checks a name that a caller sent.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for field `username`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid =
            || Error::invalid("username", "1 to 254 characters, without white space, control and invisible characters");
        if text.len() > MAX_NAME_BYTES {
            return Err(invalid());
        }
        let name = normalize(text);
        let count = name.chars().count();
        let categories = CodePointMapData::<GeneralCategory>::new();
        let printable = |c: char| !c.is_control() && !c.is_whitespace() && categories.get(c) != GeneralCategory::Format;
        if count == 0 || count > MAX_NAME_CHARS || name.len() > MAX_NAME_BYTES || !name.chars().all(printable) {
            return Err(invalid());
        }
        Ok(Self(name))
    }

    /// A name that comes from the database, where only parsed names are.
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Folding can undo NFKC and NFKC can make upper case (as in U+2122), so both are repeated until nothing changes.
fn normalize(text: &str) -> String {
    let mut name: String = text.trim().to_owned();
    for _ in 0..4 {
        let composed: String = name.nfkc().collect();
        let next = CaseMapper::new().fold_string(&composed).into_owned();
        if next == name {
            break;
        }
        name = next;
    }
    name.trim().to_owned()
}

/// Names are personal data: a Debug in a log line shows none.
impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Username(..)")
    }
}

/// Checks a list of roles, drops repetitions and sorts it.
///
/// # Errors
/// [`Error::InvalidArgument`] for field `roles`.
pub fn parse_roles(mut roles: Vec<String>) -> Result<Vec<String>, Error> {
    let valid = |role: &String| {
        (1..=MAX_ROLE_BYTES).contains(&role.len())
            && role.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b))
    };
    if roles.len() > MAX_ROLES || !roles.iter().all(valid) {
        return Err(Error::invalid("roles", "at most 64 roles, each 1 to 64 letters, digits and . _ : / -"));
    }
    roles.sort();
    roles.dedup();
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r57_case_spaces_and_unicode_form_make_no_other_name() {
        let alice = Username::parse("Ali\u{301}ce").expect("valid");
        for same in ["alíce", " ALÍCE ", "ａｌíｃｅ", "AL\u{49}\u{301}CE\t"] {
            assert_eq!(Username::parse(same).expect("valid"), alice, "{same:?}");
        }
        for (upper, lower) in [("STRASSE", "straße"), ("ΟΔΟΣ", "οδος"), ("ΟΔΟΣ", "οδοσ")] {
            assert_eq!(Username::parse(upper).expect("valid"), Username::parse(lower).expect("valid"), "{lower}");
        }
    }

    #[test]
    fn bad_names_are_refused() {
        let long = "x".repeat(255);
        let huge = "x".repeat(65_536);
        for bad in ["", "  ", "a b", "a\0b", "a\u{7}", "a\nb", "\u{a0}", "a\u{200b}b", "a\u{202e}b", &long, &huge] {
            assert!(Username::parse(bad).is_err(), "{bad:.20?}");
        }
        assert!(Username::parse(&"é".repeat(254)).is_ok());
        let local = "x".repeat(64);
        let email = format!("{local}@{}.{}.{}", "d".repeat(63), "e".repeat(63), "f".repeat(61));
        assert_eq!(Username::parse(&email).expect("an address").as_str().len(), 254);
    }

    #[test]
    fn roles_are_checked_sorted_and_unique() {
        let roles = ["b", "a", "b"].map(String::from).to_vec();
        assert_eq!(parse_roles(roles).expect("valid"), ["a", "b"]);
        for bad in ["", "white space", "ünï", &"x".repeat(65)] {
            assert!(parse_roles(vec![bad.into()]).is_err(), "{bad}");
        }
        assert!(parse_roles(vec!["r".into(); 65]).is_err());
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{0,40}") {
            if let Ok(name) = Username::parse(&text) {
                prop_assert_eq!(Username::parse(name.as_str()).expect("still valid"), name);
            }
        }
    }
}
