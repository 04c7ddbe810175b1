//! Durability: the data of a cluster outlives it, or not.

/// The promise of a cluster about its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Survives crashes and power cuts, as Postgres does by default.
    Durable,
    /// Nothing is synced, and the directory is deleted when the cluster stops or its owner dies.
    Throwaway,
}

impl Durability {
    pub(super) fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Durable => &[],
            // Few buffers: to create or drop a database looks through all of them.
            Self::Throwaway => &[
                "-c",
                "fsync=off",
                "-c",
                "full_page_writes=off",
                "-c",
                "synchronous_commit=off",
                "-c",
                "shared_buffers=16MB",
            ],
        }
    }
}
