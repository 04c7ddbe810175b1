//! Files that go away with the test.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A file that goes away with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn of(content: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let scratch = Self(env::temp_dir().join(format!("countersign-scratch-{}-{number}", process::id())));
        scratch.write(content);
        scratch
    }

    /// Replaces the content at once, as a rename does.
    pub(crate) fn write(&self, content: &str) {
        let draft = self.0.with_extension("draft");
        fs::write(&draft, content).expect("written");
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).expect("closed to others");
        fs::rename(draft, &self.0).expect("renamed");
    }

    pub(crate) fn text(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}
