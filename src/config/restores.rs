//! What becomes of sessions after the database was restored from a backup.

use clap::ValueEnum;

/// What becomes of sessions that were opened before, where revocations may be lost that no replica remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AfterRestore {
    /// They are not refreshed until an operator decides.
    Ask,
    /// They end.
    EndAll,
    /// They live, those too that had ended since the backup.
    Accept,
}
