//! Renewals under way. A page that loads many things at once shows one expired cookie many times: they wait for one refresh, and
//! are given the same tokens.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

use crate::{
    auth::{refresh::Delivery, tokens::TokenPair},
    error::Error,
};

type Cell = Arc<OnceCell<Result<TokenPair, Error>>>;

/// The renewals under way, by the refresh token. Nothing is kept of those that are through: whether a token may be used once more,
/// its row says.
#[derive(Default)]
pub(super) struct Renewals(Mutex<HashMap<(String, Delivery), Cell>>);

impl Renewals {
    /// The outcome of the renewal of this token that is under way, or else of this one.
    ///
    /// # Errors
    /// Those of the renewal.
    pub(super) async fn share(
        &self,
        token: &str,
        delivery: Delivery,
        renewal: impl Future<Output = Result<TokenPair, Error>>,
    ) -> Result<TokenPair, Error> {
        let waiting = Waiting::begin(self, (token.to_owned(), delivery));
        // If whoever carries it out leaves, the next one goes on with its own.
        let outcome = waiting.cell.get_or_init(|| renewal).await;
        match outcome {
            Ok(tokens) => Ok(tokens.clone()),
            Err(error) => Err(error.replicate_for_waiter()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, Delivery), Cell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits for a renewal.
struct Waiting<'r> {
    renewals: &'r Renewals,
    key: (String, Delivery),
    cell: Cell,
}

impl<'r> Waiting<'r> {
    fn begin(renewals: &'r Renewals, key: (String, Delivery)) -> Self {
        let cell = Arc::clone(renewals.lock().entry(key.clone()).or_default());
        Self { renewals, key, cell }
    }
}

/// Once it is through, or nobody waits any more, whoever comes next begins anew.
impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut all = self.renewals.lock();
        let is_last = Arc::strong_count(&self.cell) <= 2;
        let is_own = all.get(&self.key).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        if is_own && (is_last || self.cell.initialized()) {
            all.remove(&self.key);
        }
    }
}

/// Prints the number alone: the keys are secrets.
impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewals({})", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use countersign_token::ids::SessionId;
    use time::OffsetDateTime;
    use tokio::{join, sync::Notify, task::yield_now};

    use super::*;
    use crate::crypto::secret::Secret;

    fn tokens(name: usize) -> TokenPair {
        let (at, text) = (OffsetDateTime::UNIX_EPOCH, || Secret::new(name.to_string()));
        TokenPair {
            access_token: text(),
            access_token_expires_at: at,
            refresh_token: text(),
            refresh_token_expires_at: at,
            session_id: SessionId::new(at),
        }
    }

    #[tokio::test]
    async fn those_who_come_meanwhile_share_and_those_who_come_afterwards_do_not() {
        let (renewals, count, go) = (Renewals::default(), AtomicUsize::new(0), Notify::new());
        let renew = async |token| {
            let renewal = async {
                go.notified().await;
                Ok(tokens(count.fetch_add(1, Ordering::Relaxed)))
            };
            let shared = renewals.share(token, Delivery::ByProxy, renewal).await.expect("renewed");
            shared.refresh_token.expose().to_owned()
        };
        let release = async {
            yield_now().await;
            go.notify_waiters();
        };
        let (one, two, other, ()) = join!(renew("a"), renew("a"), renew("b"), release);
        assert_eq!((one == two, one == other), (true, false));
        go.notify_one();
        assert_eq!(renew("a").await, "2");
        assert_eq!(format!("{renewals:?}"), "Renewals(0)");
    }

    #[tokio::test]
    async fn who_leaves_takes_nobody_along_and_leaves_nothing_behind() {
        let renewals = Renewals::default();
        let left = renewals.share("a", Delivery::ByProxy, pending());
        let stays = renewals.share("a", Delivery::ByProxy, async { Ok(tokens(7)) });
        let first = async {
            tokio::select! {
                biased;
                _ = left => {}
                () = yield_now() => {}
            }
        };
        let ((), stayed) = join!(first, stays);
        assert_eq!(stayed.expect("renewed").refresh_token.expose(), "7");
        let failed = renewals.share("a", Delivery::Answer, async { Err(Error::RefreshTokenReused) }).await;
        assert!(matches!(failed, Err(Error::RefreshTokenReused)));
        assert_eq!(format!("{renewals:?}"), "Renewals(0)");
    }
}
