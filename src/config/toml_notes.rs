//! Reading a TOML file in which several things may be wrong: all are noted, each with its line, and reported together.

use std::{ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use crate::error::{Error, Violation};

/// A value, and where it stands.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A text in the file, and where it stands.
pub(super) type Text<'v> = (&'v str, Range<usize>);

/// The notes on a file.
#[derive(Debug)]
pub(super) struct Notes<'f> {
    setting: &'static str,
    path: &'f Path,
    text: &'f str,
    found: Vec<(usize, String)>,
}

impl<'f> Notes<'f> {
    /// Notes on the file that `setting` names.
    pub(super) fn new(setting: &'static str, path: &'f Path, text: &'f str) -> Self {
        Self { setting, path, text, found: Vec::new() }
    }

    /// Reads the text as TOML, and notes where it is none.
    pub(super) fn document(&mut self) -> DeTable<'f> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.add(&error.span().unwrap_or_default(), error.message());
        }
        document.into_inner()
    }

    /// Notes what is wrong at a place.
    pub(super) fn add(&mut self, at: &Range<usize>, message: impl Into<String>) {
        self.found.push((self.line(at), message.into()));
    }

    /// The line of a place.
    pub(super) fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// True if nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Notes a key that none of the known ones is.
    pub(super) fn unknown_key(&mut self, key: &Spanned<DeString<'_>>, known: &[&str]) {
        let message = format!("unknown key `{}`, expected one of {}", key.get_ref(), known.join(", "));
        self.add(&key.span(), message);
    }

    /// A value that has to be a string.
    pub(super) fn text<'v>(&mut self, value: &'v Value<'_>) -> Option<Text<'v>> {
        let text = value.get_ref().as_str().map(|text| (text, value.span()));
        self.expected(value, "a string", text)
    }

    /// A value that has to be true or false.
    pub(super) fn boolean(&mut self, value: &Value<'_>) -> bool {
        self.expected(value, "true or false", value.get_ref().as_bool()).unwrap_or_default()
    }

    /// The strings of a value that has to be a list of them.
    pub(super) fn texts<'v>(&mut self, value: &'v Value<'_>) -> Vec<Text<'v>> {
        let list = self.expected(value, "a list of strings", value.get_ref().as_array());
        list.into_iter().flatten().filter_map(|value| self.text(value)).collect()
    }

    /// A value that has to be a table.
    pub(super) fn table<'v, 't>(&mut self, value: &'v Value<'t>) -> Option<&'v DeTable<'t>> {
        self.expected(value, "a table", value.get_ref().as_table())
    }

    /// The tables of a value that has to be a list of them, each with where it begins.
    pub(super) fn tables<'v, 't>(&mut self, value: &'v Value<'t>) -> Vec<(&'v DeTable<'t>, Range<usize>)> {
        let list = self.expected(value, "a list of tables", value.get_ref().as_array());
        let tables = list.into_iter().flatten().map(|value| (self.table(value), value.span()));
        tables.filter_map(|(table, at)| Some((table?, at))).collect()
    }

    fn expected<T>(&mut self, value: &Value<'_>, what: &str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.add(&value.span(), format!("expected {what}"));
        }
        found
    }

    /// Hands on what was made of the file.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] with all notes, in the order of their lines.
    pub(super) fn finish<T>(mut self, made: T) -> Result<T, Error> {
        self.found.sort_by_key(|(line, _)| *line);
        let note = |(line, message)| Violation {
            field: self.setting,
            description: format!("{}:{line}: {message}", self.path.display()),
        };
        let violations: Vec<Violation> = self.found.into_iter().map(note).collect();
        if violations.is_empty() { Ok(made) } else { Err(Error::InvalidArgument(violations)) }
    }
}
