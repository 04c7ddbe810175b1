//! The log.

use clap::{Args, ValueEnum};

/// Settings of the log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// Filter of the log, as in RUST_LOG
    #[arg(long, env = "COUNTERSIGN_LOG", default_value = "info", global = true)]
    pub log: String,

    /// Form of the lines
    #[arg(long, env = "COUNTERSIGN_LOG_FORMAT", default_value = "text", value_enum, global = true)]
    pub log_format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
