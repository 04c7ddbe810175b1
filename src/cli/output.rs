//! The output of commands, for people and scripts.

use std::{
    fmt::Display,
    io::{self, Write as _},
    time::Duration,
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::error::Error;

/// A moment for people and scripts: the second after it, by RFC 3339, in UTC.
pub(super) fn moment(at: OffsetDateTime) -> String {
    let second = at.replace_nanosecond(0).unwrap_or(at) + Duration::from_secs(u64::from(at.nanosecond() > 0));
    second.format(&Rfc3339).unwrap_or_default()
}

/// Writes a line of output.
///
/// # Errors
/// [`Error::Internal`] when standard output is closed.
pub fn say(line: impl Display) -> Result<(), Error> {
    writeln!(io::stdout(), "{line}").map_err(Error::internal)
}
