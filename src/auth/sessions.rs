//! ListSessions: the live sessions of a user.

use super::{Accounts, Page};
use crate::{
    domain::{ids::UserId, session::Session},
    error::Error,
    store::refresh_tokens,
};

impl Accounts {
    /// One page of a user's live sessions, oldest first.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub async fn list_sessions(&self, user: UserId, page: Page) -> Result<Vec<Session>, Error> {
        let mut conn = self.store.acquire().await?;
        let now = self.clock.now();
        refresh_tokens::list(&mut conn, user, page.after, page.size.into(), now).await
    }
}
