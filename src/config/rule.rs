//! How a setting is checked.

/// A setting, whether it is in its range, and the range.
pub(super) type Rule = (&'static str, bool, &'static str);
