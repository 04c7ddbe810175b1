//! Settings that are one of a few names.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Reads one of these names, each of which stands for a value.
pub(super) fn one_of<T, const N: usize>(names: &'static [(&'static str, T); N]) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
{
    let find = |given: String| {
        let found = names.iter().find(|(name, _)| *name == given);
        // clap has looked at the names before.
        found.map(|(_, value)| value.clone()).ok_or("none of the names")
    };
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name)).try_map(find)
}
