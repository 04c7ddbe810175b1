//! Demands that a proxy's route sends along with its question (`context_extensions` of ext_authz).

use crate::domain::route::{Access, Demand};

/// The demands of a route; None for one that has sent none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Option<Demand>);

impl Extensions {
    /// Reads them.
    ///
    /// # Errors
    /// The name of one that is not known, or whose value is none: who wrote it relies on it.
    pub fn read<'e>(pairs: impl Iterator<Item = (&'e str, &'e str)>) -> Result<Self, &'e str> {
        let (mut demand, mut found) = (Demand::default(), false);
        for (name, value) in pairs {
            let list = || value.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>();
            match name {
                _ if value.split(',').any(|item| item.trim().is_empty()) => return Err(name),
                "audience" => demand.audiences.push(value.trim().to_owned()),
                "roles_any" => demand.roles_any.push(list()),
                "roles_all" => demand.roles_all = list(),
                "optional" if value == "true" => demand.access = Access::Optional,
                "optional" if value == "false" => {}
                _ => return Err(name),
            }
            found = true;
        }
        // Who comes without a token has no role.
        if demand.access == Access::Optional && demand.asks_for_roles() {
            return Err("optional");
        }
        Ok(Self(found.then_some(demand)))
    }

    /// The demand of the route and that of a rule, if either is there. Without both a valid token is needed.
    pub(super) fn with(self, rule: Option<&Demand>) -> Demand {
        match (self.0, rule) {
            (Some(own), Some(rule)) if rule.access == Access::Public => own,
            (Some(own), Some(rule)) => own.and(rule.clone()),
            (Some(own), None) => own,
            (None, Some(rule)) => rule.clone(),
            (None, None) => Demand::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_misspelt_is_named() {
        let both = [("roles_any", "a"), ("optional", "true")];
        assert_eq!(Extensions::read(both.into_iter()), Err("optional"));
        for (name, value) in [
            ("require-role", "admin"),
            ("Audience", "x"),
            ("optional", "yes"),
            ("roles_all", " "),
            ("roles_any", ","),
            ("roles_all", "a,,b"),
            ("", "x"),
            ("audience", ""),
        ] {
            assert_eq!(Extensions::read([("audience", "ok"), (name, value)].into_iter()), Err(name), "{name}={value}");
        }
    }

    #[test]
    fn demands_of_both_hold() {
        let own = Extensions::read([("roles_any", "a, b"), ("optional", "false")].into_iter()).expect("read");
        let alone = own.clone().with(None);
        assert_eq!((alone.access, &alone.roles_any[0]), (Access::Authenticated, &vec!["a".to_owned(), "b".to_owned()]));
        let rule = Demand { audiences: vec!["x".to_owned()], ..Demand::default() };
        let both = own.clone().with(Some(&rule));
        assert_eq!((both.access, both.audiences.len(), both.roles_any.len()), (Access::Authenticated, 1, 1));
        let public = Demand { access: Access::Public, ..Demand::default() };
        assert_eq!(own.with(Some(&public)).access, Access::Authenticated, "what the route asks for is not waived");
        let optional = Extensions::read([("optional", "true")].into_iter()).expect("read");
        assert_eq!(optional.with(Some(&rule)).access, Access::Authenticated);
        assert_eq!(Extensions::default().with(None), Demand::default());
        assert_eq!(Extensions::default().with(Some(&public)).access, Access::Public);
    }
}
