//! Reading files again while a server runs, every few seconds and on SIGHUP: the policy file, the administrators' token, and those
//! of TLS.

use std::{convert::Infallible, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::admin_token::AdminTokenFile;
use crate::{
    config::{Occasion, PolicyFile},
    error::Error,
    net::TlsFiles,
};

/// Pause between two looks at the files. Kubernetes takes up to a minute to show a change.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// The files, as far as there are any, and the signal to read them.
pub(super) struct Reload {
    hangups: Signal,
    policy: Option<PolicyFile>,
    tls: Option<TlsFiles>,
    admin_token: Option<AdminTokenFile>,
}

impl Reload {
    /// Begins to listen for SIGHUP, which does not end the process from then on.
    ///
    /// # Errors
    /// [`Error::Internal`] when the system does not let us.
    pub(super) fn listen(
        policy: Option<PolicyFile>,
        tls: Option<TlsFiles>,
        admin_token: Option<AdminTokenFile>,
    ) -> Result<Self, Error> {
        let hangups = signal(SignalKind::hangup()).map_err(Error::internal)?;
        Ok(Self { hangups, policy, tls, admin_token })
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
            if let Some(policy) = &mut self.policy {
                policy.read_again(occasion);
            }
            if let Some(tls) = &mut self.tls {
                tls.read_again(occasion);
            }
            if let Some(admin_token) = &mut self.admin_token {
                admin_token.read_again(occasion);
            }
        }
    }
}
