//! The decision about sessions after the database was restored from a backup.

use clap::ValueEnum;

/// The decision about sessions that were opened before a restore, where revocations may be lost that no replica remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AfterRestore {
    /// Refresh none of them until an operator decides.
    Ask,
    /// End all of them.
    EndAll,
    /// Let them live, those too that had ended since the backup.
    Accept,
}
