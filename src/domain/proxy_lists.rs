//! The form of the lists by which proxies that verify tokens by themselves are told what has ended.

/// Choice of that form. Both refuse the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyLists {
    /// Lists of names that may begin with `*`, by Envoy's `ServerNameMatcher`. Small, and not marked stable by Envoy.
    #[default]
    Names,
    /// Maps of whole names, by Envoy's `exact_match_map`. Stable, and several times as large.
    Exact,
}
