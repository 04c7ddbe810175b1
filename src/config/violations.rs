//! Violations by settings: those of all sections are collected, and reported together.

use crate::error::{Error, Violation};

/// The settings that are not as they may be, so far.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Notes that `setting` is to be as `description` says, unless it is.
    pub fn require(&mut self, holds: bool, setting: &'static str, description: impl Into<String>) {
        if !holds {
            self.0.push(Violation { field: setting, description: description.into() });
        }
    }
}

/// Makes of settings what a check makes of them.
///
/// # Errors
/// [`Error::InvalidArgument`] names each setting that the check has noted.
pub fn checked<T>(check: impl FnOnce(&mut Violations) -> T) -> Result<T, Error> {
    let mut violations = Violations::default();
    let made = check(&mut violations);
    if violations.0.is_empty() { Ok(made) } else { Err(Error::InvalidArgument(violations.0)) }
}
