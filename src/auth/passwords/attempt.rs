//! A password with its circumstances, as a caller brings it.

use tokio::time::Instant;

use super::throttle::Source;
use crate::domain::{audit::Kind, password::Password, user::Username};

/// A password that is to be checked.
#[derive(Clone, Debug)]
pub struct PasswordAttempt {
    /// The name of the user whose password it should be.
    pub username: Username,
    /// The password as it was typed.
    pub password: Password,
    /// The place from which it comes.
    pub source: Source,
    /// The moment from which on the caller waits no longer.
    pub until: Option<Instant>,
    /// The kind of the audit event if it is refused.
    pub refused_as: Kind,
}
