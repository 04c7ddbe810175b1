//! Logs: text for people or JSON for machines, on standard error.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;

use crate::{
    config::{LogFormat, LogSettings},
    error::Error,
};

/// Starts logging.
///
/// # Errors
/// [`Error::InvalidArgument`] for a filter that cannot be read.
pub fn start(settings: &LogSettings) -> Result<(), Error> {
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|_| Error::invalid("log", "a filter such as info or countersign=debug"))?;
    let is_terminal = io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(move || Lines { out: io::stderr(), is_terminal });
    match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(Error::internal)
}

/// Standard error, on which each event is a line of its own. On a terminal it takes the place of what stands there, such as the
/// progress of a command.
struct Lines<W> {
    out: W,
    is_terminal: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.out.write(part)
    }

    /// Writes an event, which comes as a whole.
    fn write_all(&mut self, event: &[u8]) -> io::Result<()> {
        if self.is_terminal { self.out.write_all(&[b"\r\x1b[K", event].concat()) } else { self.out.write_all(event) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_takes_the_place_of_what_stands_on_a_terminal() {
        for (is_terminal, expected) in [(true, "7 rows\r\x1b[Kan event\n"), (false, "7 rowsan event\n")] {
            let mut lines = Lines { out: b"7 rows".to_vec(), is_terminal };
            lines.write_all(b"an event\n").expect("written");
            assert_eq!(lines.out, expected.as_bytes());
        }
    }
}
