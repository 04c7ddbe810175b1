//! Listings come page by page.

use uuid::Uuid;

/// A page of a listing.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The last id of the page before.
    pub after: Uuid,
    /// Largest number of users on the page.
    pub size: u16,
}
