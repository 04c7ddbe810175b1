//! Logs: text for people or JSON for machines, on standard error.

use std::io::IsTerminal as _;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(Error::internal)
}
