//! Requests to stop a server: the first lets it finish, the second does not.

use std::future::{Future, pending};

use tokio::sync::watch;

/// The requests to stop that have been made.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<u32>);

/// Counts requests to stop. When it is dropped, one has been made.
pub type StopRequests = watch::Sender<u32>;

impl Stop {
    /// Counts from none.
    pub fn new() -> (StopRequests, Self) {
        let (requests, made) = watch::channel(0);
        (requests, Self(made))
    }

    /// Takes the end of `request` for the only request to stop.
    pub fn when(request: impl Future<Output = ()> + Send + 'static) -> Self {
        let (requests, stop) = Self::new();
        tokio::spawn(async move {
            request.await;
            drop(requests);
        });
        stop
    }

    /// Waits for the first request.
    pub async fn requested(&mut self) {
        // Whoever could make one is gone.
        drop(self.0.wait_for(|made| *made > 0).await);
    }

    /// Waits for the second request.
    pub async fn insisted(&mut self) {
        if self.0.wait_for(|made| *made > 1).await.is_err() {
            pending().await
        }
    }
}
