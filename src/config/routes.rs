//! The route policy of a policy file: tables `routes`.

use std::ops::Range;

use toml::de::DeTable;

use super::toml_notes::{Notes, Value};
use crate::domain::{
    route::{Access, HostPattern, Route, RoutePolicy},
    route_path::RoutePath,
    user::parse_roles,
};

/// The keys of a rule.
const KEYS: [&str; 8] = ["host", "hosts", "path", "methods", "access", "audience", "roles_any", "roles_all"];

/// Reads the rules, in their order.
pub(super) fn read(document: &DeTable<'_>, notes: &mut Notes<'_>) -> RoutePolicy {
    let mut routes: Vec<Route> = Vec::new();
    for (table, at) in document.get("routes").map(|value| notes.tables(value)).unwrap_or_default() {
        let route = read_route(table, &at, notes);
        // What comes after a rule for everything would be read by people alone.
        if let Some(all) =
            routes.iter().find(|route| route.hosts.is_empty() && route.path.is_none() && route.methods.is_empty())
        {
            notes.add(&at, format!("never reached: the rule of line {} means every request", all.line));
        }
        routes.push(route);
    }
    RoutePolicy(routes)
}

fn read_route(table: &DeTable<'_>, at: &Range<usize>, notes: &mut Notes<'_>) -> Route {
    let mut route = Route { line: notes.line(at), ..Route::default() };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "host" => route.hosts.extend(notes.text(value).and_then(|(text, at)| host(text, &at, notes))),
            "hosts" => {
                let texts = notes.texts(value);
                route.hosts.extend(texts.into_iter().filter_map(|(text, at)| host(text, &at, notes)));
                require_some(&route.hosts, value, notes);
            }
            "path" => route.path = path(value, notes),
            "methods" => route.methods = methods(value, notes),
            "access" => route.demand.access = access(value, notes),
            "audience" => route.demand.audiences.extend(notes.text(value).map(|(text, _)| text.to_owned())),
            "roles_any" => route.demand.roles_any.push(roles(value, notes)),
            "roles_all" => route.demand.roles_all = roles(value, notes),
            _ => notes.unknown_key(key, &KEYS),
        }
    }
    let demand = &route.demand;
    if demand.access == Access::Public && (demand.asks_for_roles() || !demand.audiences.is_empty()) {
        notes.add(at, "a public route looks at no token, so it can ask for no audience and no roles");
    } else if demand.access == Access::Optional && demand.asks_for_roles() {
        notes.add(at, "an optional route lets in who has no token, so it can ask for no roles");
    }
    route
}

fn host(text: &str, at: &Range<usize>, notes: &mut Notes<'_>) -> Option<HostPattern> {
    let pattern = HostPattern::parse(text);
    if pattern.is_none() {
        notes.add(at, format!("`{text}` is no host: expected shop.example.com or *.example.com, without a port"));
    }
    pattern
}

fn path(value: &Value<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let (text, at) = notes.text(value)?;
    if RoutePath::parse(text).is_none() {
        notes.add(&at, format!("`{text}` is no path: it begins with /, and has no empty or dot segments, `;` or `?`"));
    }
    Some(text.to_owned())
}

fn methods(value: &Value<'_>, notes: &mut Notes<'_>) -> Vec<String> {
    let texts = notes.texts(value);
    for (text, at) in &texts {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
            notes.add(at, format!("`{text}` is no method, expected one as GET"));
        }
    }
    require_some(&texts, value, notes);
    texts.into_iter().map(|(text, _)| text.to_owned()).collect()
}

fn access(value: &Value<'_>, notes: &mut Notes<'_>) -> Access {
    match notes.text(value) {
        Some(("public", _)) => Access::Public,
        Some(("optional", _)) => Access::Optional,
        Some(("authenticated", _)) | None => Access::Authenticated,
        Some((text, at)) => {
            notes.add(&at, format!("unknown access `{text}`, expected public, optional or authenticated"));
            Access::Authenticated
        }
    }
}

fn roles(value: &Value<'_>, notes: &mut Notes<'_>) -> Vec<String> {
    let texts = notes.texts(value);
    for (text, at) in &texts {
        if parse_roles(vec![(*text).to_owned()]).is_err() {
            notes.add(at, format!("`{text}` is no role: 1 to 64 letters, digits and . _ : / -"));
        }
    }
    require_some(&texts, value, notes);
    texts.into_iter().map(|(text, _)| text.to_owned()).collect()
}

/// Notes an empty list: whether it means none or any, each reader would say differently.
fn require_some<T>(list: &[T], value: &Value<'_>, notes: &mut Notes<'_>) {
    if list.is_empty() {
        notes.add(&value.span(), "an empty list: leave the key away");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::error::Error;

    fn parse(text: &str) -> Result<RoutePolicy, Error> {
        let mut notes = Notes::new("policy-file", Path::new("p"), text);
        let document = notes.document();
        let routes = read(&document, &mut notes);
        notes.finish(routes)
    }

    #[test]
    fn rules_are_read_in_their_order() {
        let text = "[[routes]]\npath = \"/public\"\nmethods = [\"GET\"]\naccess = \"public\"\n\n\
                    [[routes]]\nhosts = [\"a.b\", \"*.c\"]\naudience = \"x\"\nroles_any = [\"r\", \"s\"]\nroles_all = [\"t\"]\n";
        let RoutePolicy(routes) = parse(text).expect("rules");
        let [public, other] = routes.as_slice() else { panic!("{routes:?}") };
        assert_eq!((public.line, public.demand.access, public.methods.len()), (1, Access::Public, 1));
        assert_eq!((other.line, other.demand.access, other.hosts.len()), (6, Access::Authenticated, 2));
        assert_eq!(
            (&other.demand.roles_any[0], &other.demand.audiences),
            (&vec!["r".into(), "s".into()], &vec!["x".into()])
        );
    }

    #[test]
    fn all_that_is_wrong_is_named_with_its_line() {
        let text = "[[routes]]\npath = \"public\"\nmethods = [\"get\"]\n[[routes]]\nhost = \"a:80\"\naccess = \"none\"\n\
                    [[routes]]\nacces = \"public\"\nroles_any = []\n[[routes]]\naccess = \"public\"\nroles_all = [\"a b\"]\n\
                    [[routes]]\npath = \"/x\"\n";
        let Err(Error::InvalidArgument(violations)) = parse(text) else { panic!("accepted") };
        let said: Vec<String> = violations.into_iter().map(|violation| violation.description).collect();
        for (line, words) in [
            (2, "is no path"),
            (3, "is no method"),
            (5, "is no host"),
            (6, "unknown access"),
            (8, "unknown key"),
            (9, "an empty list"),
            (10, "a public route"),
            (12, "is no role"),
            (13, "never reached"),
        ] {
            assert!(
                said.iter().any(|said| said.starts_with(&format!("p:{line}: ")) && said.contains(words)),
                "{line}: {said:#?}"
            );
        }
    }
}
