//! The output of commands, for people and scripts.

use std::{
    error,
    fmt::{self, Display},
    io::{self, ErrorKind, Write as _},
    slice,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{domain::text::system_words, error::Error, store::Unreached};

/// A moment for people and scripts: the second after it, by RFC 3339, in UTC.
pub(super) fn moment(at: OffsetDateTime) -> String {
    let second = at.replace_nanosecond(0).unwrap_or(at) + Duration::from_secs(u64::from(at.nanosecond() > 0));
    second.format(&Rfc3339).unwrap_or_default()
}

/// The end of standard output: whoever read it wants no more, as `head` does. It ends a command without a word.
#[derive(Debug)]
pub(super) struct OutputClosed;

impl fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl error::Error for OutputClosed {}

/// The error of a write to standard output.
pub(super) fn unwritten(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe => Error::internal(OutputClosed),
        _ => Error::invalid("output", format!("standard output cannot be written: {}", system_words(&error))),
    }
}

/// Ends a command that waits for what there is to print, once nobody reads it any more.
///
/// # Errors
/// [`Error::Internal`] as [`unwritten`] has it.
pub(super) fn require_reader() -> Result<(), Error> {
    let stdout = io::stdout();
    let mut pipe = PollFd::new(&stdout, PollFlags::empty());
    match poll(slice::from_mut(&mut pipe), Some(&Timespec::default())) {
        Ok(_) if pipe.revents().contains(PollFlags::ERR) => Err(Error::internal(OutputClosed)),
        _ => Ok(()),
    }
}

/// Writes a line of output.
///
/// # Errors
/// [`Error::InvalidArgument`] when standard output cannot be written; [`Error::Internal`] when its reader has gone.
pub fn say(line: impl Display) -> Result<(), Error> {
    writeln!(io::stdout(), "{line}").map_err(unwritten)
}

/// An error for people. The reason for which there is no connection is a sentence already.
pub(super) fn said(error: &Error) -> String {
    match error {
        Error::DatabaseUnavailable(source) if source.is::<Unreached>() => source.to_string(),
        error => error.to_string(),
    }
}
