//! The administrators' token in its file, which is read again while a server runs. A file that cannot be used then changes
//! nothing: the token of before stays.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::{
    config::{Occasion, read_file, warn_if_open},
    crypto::service_token::ServiceTokenHash,
    error::Error,
};

const SETTING: &str = "admin-token-file";

/// The file, and the token that it held when it could last be used.
pub(super) struct AdminTokenFile {
    path: PathBuf,
    /// False from when it could not be used until it can, so that this is said once.
    usable: bool,
    current: Arc<ArcSwap<ServiceTokenHash>>,
}

impl AdminTokenFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub(super) fn read(path: PathBuf) -> Result<Self, Error> {
        warn_if_open(SETTING, &path);
        let current = Arc::new(ArcSwap::from_pointee(token(&path)?));
        Ok(Self { path, usable: true, current })
    }

    /// The token in force, also after it has changed.
    pub(super) fn current(&self) -> Arc<ArcSwap<ServiceTokenHash>> {
        Arc::clone(&self.current)
    }

    /// Reads the file again, and says in the log what came of it.
    pub(super) fn read_again(&mut self, occasion: Occasion) {
        match token(&self.path) {
            Ok(token) if self.current.load().is_same(&token) => self.usable = true,
            Ok(token) => {
                self.current.store(Arc::new(token));
                self.usable = true;
                warn_if_open(SETTING, &self.path);
                tracing::info!(file = %self.path.display(), "read the administrators' token");
            }
            Err(error) if self.usable || occasion == Occasion::Request => {
                self.usable = false;
                tracing::error!(%error, "the administrators' token cannot be used: that of before stays in force");
            }
            Err(_) => {}
        }
    }
}

fn token(path: &Path) -> Result<ServiceTokenHash, Error> {
    ServiceTokenHash::from_file_content(&read_file(SETTING, path)?)
}
