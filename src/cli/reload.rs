//! Reading the policy file again while a server runs: every few seconds and on SIGHUP, which does nothing without a policy file.

use std::{convert::Infallible, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::{
    config::{Occasion, PolicyFile},
    error::Error,
};

/// Pause between two looks at the file. Kubernetes takes up to a minute to show a change.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The policy file, if there is one, and the signal to read it.
pub(super) struct Reload {
    hangups: Signal,
    file: Option<PolicyFile>,
}

impl Reload {
    /// Begins to listen for SIGHUP, which does not end the process from then on.
    ///
    /// # Errors
    /// [`Error::Internal`] when the system does not let us.
    pub(super) fn listen(file: Option<PolicyFile>) -> Result<Self, Error> {
        Ok(Self { hangups: signal(SignalKind::hangup()).map_err(Error::internal)?, file })
    }

    /// Carries out work, and reads again meanwhile.
    pub(super) async fn beside<T>(self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.run() => match never {},
        }
    }

    async fn run(mut self) -> Infallible {
        loop {
            let occasion = tokio::select! {
                _ = self.hangups.recv() => Occasion::Request,
                () = sleep(LOOK_EVERY) => Occasion::Look,
            };
            if let Some(file) = &mut self.file {
                file.read_again(occasion);
            }
        }
    }
}
