//! Hygiene of the source: layers, boundaries of libraries, sizes, secrets, documents. Each rule has its reason beside it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed; clippy knows test functions only, not their helpers"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What each part of `src/` may import from this crate. What is missing is deliberately absent.
const IMPORTS: [(&str, &[&str]); 22] = [
    ("error", &[]),
    ("clock", &[]),
    ("domain", &["error"]),
    ("config", &["domain", "error"]),
    ("telemetry", &["config", "error"]),
    ("metrics", &["domain", "error"]),
    ("trace", &["domain", "error"]),
    ("crypto", &["domain", "error", "metrics", "trace"]),
    ("store", &["domain", "error", "metrics", "trace"]),
    ("audit", &["clock", "domain", "error", "store"]),
    ("revocation", &["audit", "clock", "domain", "error", "metrics", "store", "trace"]),
    ("auth", &["audit", "clock", "crypto", "domain", "error", "metrics", "revocation", "store", "trace"]),
    ("net", &["config", "domain", "error"]),
    ("edge", &["audit", "config", "crypto", "domain", "error", "net", "trace"]),
    ("authz", &["auth", "config", "crypto", "domain", "edge", "error", "metrics"]),
    ("xds", &["auth", "domain", "error", "revocation"]),
    (
        "grpc",
        &[
            "xds",
            "auth",
            "authz",
            "clock",
            "crypto",
            "domain",
            "edge",
            "error",
            "metrics",
            "net",
            "revocation",
            "trace",
        ],
    ),
    ("http", &["auth", "authz", "crypto", "domain", "edge", "error", "metrics", "net", "trace"]),
    (
        "server",
        &[
            "audit",
            "auth",
            "authz",
            "clock",
            "config",
            "crypto",
            "domain",
            "edge",
            "error",
            "grpc",
            "http",
            "metrics",
            "net",
            "revocation",
            "store",
        ],
    ),
    (
        "cli",
        &[
            "audit",
            "auth",
            "authz",
            "clock",
            "config",
            "crypto",
            "domain",
            "edge",
            "error",
            "grpc",
            "http",
            "metrics",
            "net",
            "revocation",
            "server",
            "store",
            "telemetry",
            "trace",
            "xds",
        ],
    ),
    ("main", &[]),
    ("lib", &[]),
];

/// Where each library may be named, so that it has one obvious place.
const LIBRARIES: [(&str, &[&str]); 26] = [
    ("tonic", &["grpc"]),
    ("prost_types", &["grpc"]),
    ("axum", &["http"]),
    ("prometheus", &["metrics"]),
    ("opentelemetry", &["trace"]),
    ("opentelemetry_otlp", &["trace"]),
    ("opentelemetry_sdk", &["trace"]),
    ("opentelemetry_semantic_conventions", &["trace"]),
    ("sqlx", &["store"]),
    ("jsonwebtoken", &["crypto"]),
    ("argon2", &["crypto"]),
    ("bcrypt", &["crypto"]),
    ("scrypt", &["crypto"]),
    ("sha_crypt", &["crypto"]),
    ("md5", &["crypto"]),
    // In `net` it is the part of rustls that has this name.
    ("aws_lc_rs", &["crypto", "net"]),
    ("tokio_rustls", &["net"]),
    ("hyper_util", &["net"]),
    ("xorf", &["crypto"]),
    ("zxcvbn", &["crypto"]),
    ("clap", &["cli", "config"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("ratatui", &["cli"]),
    ("toml", &["config"]),
    ("tracing_subscriber", &["telemetry"]),
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The part of `src/` that it belongs to.
    fn part(&self) -> String {
        let inner = self.path.strip_prefix(root().join("src")).expect("in src");
        let first = inner.iter().next().expect("a name").to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    }

    /// The names of its module and of those around it, in a package whose code is in `folder`.
    fn module(&self, folder: &str) -> Vec<String> {
        let inner = self.path.strip_prefix(root().join(folder)).expect("in src").with_extension("");
        let names: Vec<String> = inner.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        match names.split_last().expect("a name") {
            (last, around) if last == "mod" => around.to_vec(),
            _ => names,
        }
    }

    /// Without its test module.
    fn code(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod tests {").next().expect("code")
    }

    fn is_test(&self) -> bool {
        self.path.components().any(|c| c.as_os_str() == "tests")
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).expect("inside").display().to_string()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

fn sources(folder: &str) -> Vec<Source> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty());
    found
}

/// The packages beside the service.
fn packages() -> Vec<String> {
    let entries = fs::read_dir(root().join("crates")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    names.map(|name| format!("crates/{name}")).chain(["proto".to_owned()]).collect()
}

/// The code of all packages, with the tests that lie beside it.
fn all_code() -> Vec<Source> {
    let mut found = sources("src");
    for package in packages() {
        found.extend(sources(&format!("{package}/src")));
    }
    found
}

/// The tests of all packages.
fn all_tests() -> Vec<Source> {
    let mut found = sources("tests");
    for package in packages().iter().filter(|package| root().join(package).join("tests").exists()) {
        found.extend(sources(&format!("{package}/tests")));
    }
    found
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The modules of this crate that `code` names.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(tree) => found.extend(branches(tree).into_iter().map(first_word)),
            None => found.push(first_word(rest)),
        }
    }
    found.retain(|name| IMPORTS.iter().any(|(module, _)| module == name));
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn imports_go_one_way() {
    let mut complaints = Vec::new();
    for source in sources("src") {
        let part = source.part();
        let (_, allowed) = IMPORTS
            .iter()
            .find(|(name, _)| *name == part)
            .unwrap_or_else(|| panic!("{part} is no part of the map above"));
        for import in imports(source.code()) {
            if import != part && !allowed.contains(&import.as_str()) {
                complaints.push(format!("{}: imports {import}", source.name()));
            }
        }
    }
    assert_none(complaints);
}

/// A file of a circle can neither be read, nor tested, nor moved without the others. A folder's `mod.rs` may import its files to
/// put them together; then none of these may import from it, or from what it hands on.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut complaints = Vec::new();
    for package in packages().into_iter().map(|package| format!("{package}/src")).chain(["src".to_owned()]) {
        let sources: Vec<Source> = sources(&package).into_iter().filter(|source| !source.is_test()).collect();
        let modules: Vec<_> = sources.iter().map(|source| (source.module(&package), source.code())).collect();
        for circle in circles(&modules) {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            complaints.push(format!("{package}: {}", names.join(", ")));
        }
    }
    assert_none(complaints);
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let found = |files: &[(&str, &'static str)]| {
        let modules: Vec<_> = files.iter().map(|(path, code)| (module(path), *code)).collect();
        circles(&modules)
            .into_iter()
            .map(|circle| circle.iter().map(|m| m.join("::")).collect())
            .collect::<Vec<Vec<_>>>()
    };
    let (a, b, c) =
        ("use super::{\n    b::{self, B},\n    d::D,\n};", "use crate::x::c::f;", "fn f() { super::a::g() }");
    assert_eq!(found(&[("x::a", a), ("x::b", b), ("x::c", c), ("x::d", "")]), [["x::a", "x::b", "x::c"]]);
    assert!(found(&[("x::a", a), ("x::b", b), ("x::c", "// super::a::g()"), ("x::d", "")]).is_empty());
    assert_eq!(found(&[("x", "mod a;\nfn f() { a::g() }"), ("x::a", "use super::f;")]), [["x", "x::a"]]);
    assert!(found(&[("x", "mod a;"), ("x::a", "use super::f;")]).is_empty(), "to have a file is not to use it");
}

/// The groups of modules of which each imports each other, if only by way of others.
fn circles(modules: &[(Vec<String>, &str)]) -> Vec<Vec<Vec<String>>> {
    let names: Vec<&[String]> = modules.iter().map(|(module, _)| module.as_slice()).collect();
    let arrows: Vec<Vec<usize>> = modules.iter().map(|(module, code)| imported(module, code, &names)).collect();
    let reached: Vec<Vec<bool>> = (0..modules.len()).map(|from| reach(from, &arrows)).collect();
    let mut found = Vec::new();
    for (from, to) in reached.iter().enumerate() {
        let group: Vec<usize> = (0..modules.len()).filter(|at| to[*at] && reached[*at][from]).collect();
        if group.first() == Some(&from) {
            let mut circle: Vec<Vec<String>> = group.into_iter().map(|at| modules[at].0.clone()).collect();
            circle.sort();
            found.push(circle);
        }
    }
    found
}

/// Where the arrows lead to from a place, in one step or more.
fn reach(from: usize, arrows: &[Vec<usize>]) -> Vec<bool> {
    let (mut reached, mut next) = (vec![false; arrows.len()], vec![from]);
    while let Some(at) = next.pop() {
        for to in &arrows[at] {
            if !std::mem::replace(&mut reached[*to], true) {
                next.push(*to);
            }
        }
    }
    reached
}

/// The places of the modules that the code of `module` names, but itself.
fn imported(module: &[String], code: &str, names: &[&[String]]) -> Vec<usize> {
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let children = names.iter().filter(|name| name.len() == module.len() + 1 && name.starts_with(module));
    let starts: Vec<&str> =
        children.map(|name| name[module.len()].as_str()).chain(["crate", "super", "self"]).collect();
    let mut found = Vec::new();
    for statement in code.split(';') {
        let (before, tree) = split_import(statement);
        for path in paths(tree).into_iter().chain(named(before, &starts)) {
            if !path.first().is_some_and(|name| starts.contains(&name.as_str())) {
                continue;
            }
            let path = absolute(module, &path);
            let longest = (0..names.len()).filter(|i| path.starts_with(names[*i])).max_by_key(|i| names[*i].len());
            found.extend(longest.filter(|i| names[*i] != module));
        }
    }
    found
}

/// What comes before an import, and its tree.
fn split_import(statement: &str) -> (&str, &str) {
    let visible = ["use ", "pub use ", "pub(super) use ", "pub(crate) use "];
    let lines = statement.match_indices('\n').map(|(at, _)| at + 1).chain([0]);
    let starts = lines.filter_map(|line| {
        let code = statement[line..].trim_start();
        let import = visible.iter().find_map(|import| code.strip_prefix(import))?;
        Some((line, import))
    });
    starts.max_by_key(|(line, _)| *line).map_or((statement, ""), |(line, tree)| (&statement[..line], tree))
}

/// The paths in `code` that begin with one of these words.
fn named(code: &str, starts: &[&str]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in starts {
        for (at, _) in code.match_indices(&format!("{start}::")) {
            let before = &code[..at];
            let goes_on = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c));
            // `pub(in crate::auth)` says who may import.
            if !goes_on && !before.ends_with("(in ") {
                found.extend(paths(&code[at..]));
            }
        }
    }
    found
}

/// The paths of a tree of imports, or the one path, with which a text begins.
fn paths(text: &str) -> Vec<Vec<String>> {
    let name = first_word(text);
    let rest = &text[name.len()..];
    let below = match rest.strip_prefix("::") {
        Some(below) => match below.strip_prefix('{') {
            Some(tree) => branches(tree).into_iter().flat_map(paths).collect(),
            None => paths(below),
        },
        None => vec![vec![]],
    };
    below.into_iter().map(|path| [vec![name.clone()], path].concat()).collect()
}

/// What stands between the commas of a tree, whose opening brace is gone.
fn branches(tree: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in tree.char_indices() {
        match c {
            ',' | '}' if depth == 0 => {
                found.extend(Some(tree[start..at].trim()).filter(|branch| !branch.is_empty()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// A path that the code of `module` names, from the root of the crate.
fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match path.first().map(String::as_str) {
        Some("crate") => (&[][..], &path[1..]),
        Some("self") => (module, &path[1..]),
        _ => (&module[..module.len().saturating_sub(ups)], &path[ups..]),
    };
    [base, rest].concat()
}

#[test]
fn each_library_has_one_place() {
    let mut complaints = Vec::new();
    for source in sources("src") {
        for (library, places) in LIBRARIES {
            let named = [format!("{library}::"), format!("use {library} ")];
            let boundary = |at: usize| {
                let before = source.code()[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
            };
            let uses = named.iter().any(|n| source.code().match_indices(n).any(|(at, _)| boundary(at)));
            if uses && !places.contains(&source.part().as_str()) {
                complaints.push(format!("{}: names {library}", source.name()));
            }
        }
    }
    assert_none(complaints);
}

#[test]
fn files_functions_and_documents_stay_small() {
    let mut complaints = Vec::new();
    for source in all_code() {
        let limit = if source.path.ends_with("main.rs") { 40 } else { 300 };
        let lines = source.code().lines().count();
        if lines > limit && !source.is_test() {
            complaints.push(format!("{}: {lines} lines without tests", source.name()));
        }
    }
    for source in all_code().iter().chain(&all_tests()) {
        for (name, lines) in functions(&source.text) {
            if lines > 70 {
                complaints.push(format!("{}: fn {name} has {lines} lines", source.name()));
            }
        }
    }
    let documents = ["README.md", "ARCHITECTURE.md", "docs/measuring.md", "docs/revocation.md"].map(|name| (name, 250));
    // A heading for each topic, under which an operator looks things up, takes lines of its own.
    for (document, limit) in documents.into_iter().chain([("docs/operating.md", 300), ("docs/operations.md", 300)]) {
        let lines = read(document).lines().count();
        if lines > limit {
            complaints.push(format!("{document}: {lines} lines"));
        }
    }
    assert_none(complaints);
}

/// Functions and their lengths; the source is formatted, so a function ends at a brace of its own indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let Some((before, after)) = code.split_once("fn ") else {
            continue;
        };
        let qualifiers = ["pub", "async", "const", "pub(super)", "pub(crate)"];
        if !before.split_whitespace().all(|word| qualifiers.contains(&word)) {
            continue;
        }
        let name = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| *line == end).map_or(1, |n| n + 1);
        found.push((name, length));
    }
    found
}

#[test]
fn every_file_says_what_it_owns() {
    let complaints = all_code()
        .iter()
        .chain(&all_tests())
        .filter_map(|source| {
            let lines = source.text.lines().take_while(|line| line.starts_with("//!")).count();
            (!(1..=12).contains(&lines)).then(|| format!("{}: {lines} lines of //!", source.name()))
        })
        .collect();
    assert_none(complaints);
}

/// A sleeping test is slow when it passes and flaky when the machine is.
#[test]
fn no_test_sleeps_or_is_ignored() {
    let complaints = all_tests()
        .iter()
        .filter(|source| !source.path.ends_with("tests/tidy.rs"))
        .filter(|source| ["sleep(", "#[ignore"].iter().any(|bad| source.text.contains(bad)))
        .map(Source::name)
        .collect();
    assert_none(complaints);
}

/// REQUIREMENTS R63. That no line holds a secret at run time is `tests/api/logs.rs`.
#[test]
fn no_log_statement_names_a_secret() {
    let secrets = ["password", "refresh_token", "access_token", "hash", "secret", "username", "authorization"];
    let mut complaints = Vec::new();
    for source in all_code().iter().filter(|source| !source.is_test()) {
        let code = source.code();
        for (at, _) in code.match_indices("tracing::") {
            let rest = &code[at..];
            let statement = &rest[..rest.find(';').unwrap_or(rest.len()).min(400)];
            // What is quoted is a constant message.
            let values: String = statement.split('"').step_by(2).collect();
            for secret in secrets.iter().filter(|secret| values.contains(*secret)) {
                complaints.push(format!("{}: logs {secret}: {statement}", source.name()));
            }
        }
    }
    assert_none(complaints);
}

/// A message prints its name alone if a field of it is marked SECRET.
#[test]
fn every_field_that_is_named_like_a_secret_is_marked() {
    const SECRETS: [&str; 4] = ["password", "token", "hint", "hash"];
    const PUBLIC: [&str; 3] = ["page_token", "next_page_token", "token_id"];
    let mut complaints = Vec::new();
    let mut marked = 0;
    for proto in ["auth", "user"] {
        let text = read(&format!("proto/countersign/v1/{proto}.proto"));
        let mut is_secret = false;
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("//") {
                is_secret |= comment.starts_with(" SECRET.");
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [.., "string" | "bytes", name, "=", _] = words[..] {
                let looks_secret = SECRETS.iter().any(|secret| name.contains(secret)) && !PUBLIC.contains(&name);
                marked += usize::from(is_secret);
                if looks_secret && !is_secret {
                    complaints.push(format!("{proto}.proto: {name}"));
                }
            }
            is_secret = false;
        }
    }
    assert!(marked >= 14, "the marks are found");
    assert_none(complaints);
}

/// A reason that clients may meet has to be in the contract that they read.
#[test]
fn every_reason_is_in_the_proto() {
    let proto = read("proto/countersign/v1/auth.proto") + &read("proto/countersign/v1/user.proto");
    let status = read("src/edge/answer.rs");
    let reasons: Vec<&str> = status
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|text| text.len() > 5 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect();
    assert!(reasons.len() >= 18, "{reasons:?}");
    let complaints = reasons
        .iter()
        .filter(|reason| !proto.contains(*reason))
        .map(|reason| format!("{reason} is not described"))
        .collect();
    assert_none(complaints);
}

/// Finds every setting where an operator looks for it.
#[test]
fn every_setting_is_documented() {
    let documents = read("docs/settings.md");
    let mut settings = Vec::new();
    for source in all_code() {
        for (_, rest) in source.text.match_indices("env = \"COUNTERSIGN_").map(|(at, _)| source.text.split_at(at)) {
            settings.push(rest.split('"').nth(1).expect("quoted").to_owned());
        }
    }
    assert!(settings.len() >= 20, "{settings:?}");
    let complaints = settings.into_iter().filter(|setting| !documents.contains(setting.as_str())).collect();
    assert_none(complaints);
}

/// Lints that a package does not inherit deny nothing there: unwrap, panic, clocks.
#[test]
fn every_package_inherits_the_lints() {
    let lacks = |package: &String| !read(&format!("{package}/Cargo.toml")).contains("[lints]\nworkspace = true");
    let complaints = packages().into_iter().chain([".".to_owned()]).filter(lacks).collect();
    assert_none(complaints);
}

/// The packages that `package` is built from.
fn dependencies(package: &str, more: &[&str]) -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["tree", "--locked", "--package", package, "--edges", "normal"]);
    let output = cargo.args(["--prefix", "none", "--format", "{p}"]).args(more).output().expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

/// A verifier in another process needs no server.
#[test]
fn the_definition_of_a_valid_token_depends_on_nothing_of_a_server() {
    let found = dependencies("countersign-token", &[]);
    assert!(found.iter().any(|name| name == "aws-lc-rs"), "{found:?}");
    for server in ["countersign", "countersign-proto", "tokio", "tonic", "sqlx", "clap", "argon2"] {
        assert!(!found.iter().any(|name| name == server), "{server} is among them");
    }
}

/// A server is not built from what only measures it.
#[test]
fn the_service_depends_on_nothing_that_only_measures_it() {
    let (all, direct) = (dependencies("countersign", &[]), dependencies("countersign", &["--depth", "1"]));
    assert!(["private-postgres", "tonic"].iter().all(|name| direct.iter().any(|found| found == name)), "{direct:?}");
    // tonic has h2 for itself.
    for (name, found) in [("countersign-bench", &all), ("hdrhistogram", &all), ("h2", &direct)] {
        assert!(!found.iter().any(|found| found == name), "{name} is among them");
    }
}

/// An id that code cites is explained where the repository's reader finds it, and what is explained there is tested.
#[test]
fn every_requirement_that_is_cited_is_on_its_page_and_tested() {
    let page = read("docs/requirements.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let row = |id: &str| rows.iter().find(|cells| cells.get(1) == Some(&id));
    let mut complaints = Vec::new();
    for source in all_code().iter().chain(&all_tests()) {
        for id in cited(&source.text).filter(|id| row(id).is_none()) {
            complaints.push(format!("{}: {id} is not in docs/requirements.md", source.name()));
        }
    }
    for cells in rows.iter().filter(|cells| is_requirement(cells[1]) && !cells[4].starts_with("none: ")) {
        let prefix = format!("fn {}_", cells[1].to_lowercase());
        for file in cells[4].split(", ").map(|file| file.trim_matches('`')) {
            if !read(file).contains(&prefix) {
                complaints.push(format!("{}: {file} has no test of that name", cells[1]));
            }
        }
    }
    assert_none(complaints);
}

fn is_requirement(word: &str) -> bool {
    let (letter, number) = word.split_at(word.len().min(1));
    ["R", "V", "M", "A"].contains(&letter)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// The ids in comments and in names of tests.
fn cited(text: &str) -> impl Iterator<Item = String> + '_ {
    let in_comments = text
        .lines()
        .filter_map(|line| line.split_once("//").map(|(_, comment)| comment))
        .flat_map(|comment| comment.split(|c: char| !c.is_ascii_alphanumeric()))
        .filter(|word| is_requirement(word))
        .map(str::to_owned);
    let in_names = text
        .match_indices("fn ")
        .filter_map(|(at, _)| text[at + 3..].split_once('_'))
        .map(|(first, _)| first.to_uppercase())
        .filter(|word| is_requirement(word));
    in_comments.chain(in_names)
}

/// Words with which no doc comment begins. Questions, pronouns and prepositions need what stands around them, and a doc
/// comment is also read alone, where a name is used.
const NOT_FIRST: [&str; 40] = [
    "After", "As", "At", "Because", "Before", "But", "By", "For", "From", "He", "How", "If", "In", "It", "Its", "Of",
    "On", "She", "Since", "So", "That", "Their", "These", "They", "This", "Those", "To", "Until", "What", "Whatever",
    "When", "Where", "Whether", "Which", "Who", "Whoever", "Whom", "Whose", "Why", "With",
];
const MOST_WORDS_OF_A_SENTENCE: usize = 25;
const MOST_LINES_OF_A_PARAGRAPH: usize = 6;

/// Documents that are held to these limits. Those of benchmarks are tables and figures.
const PROSE: [&str; 18] = [
    "README.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "docs/callers.md",
    "docs/command-line.md",
    "docs/doctor.md",
    "docs/drill.md",
    "docs/measuring.md",
    "docs/network.md",
    "docs/operating.md",
    "docs/operations.md",
    "docs/requirements.md",
    "docs/revocation.md",
    "docs/settings.md",
    "docs/top.md",
    "docs/traces.md",
    "docs/walkthroughs.md",
    "CHANGELOG.md",
];

/// A paragraph, an item of a list or a cell of a table.
struct Passage {
    line: usize,
    lines: usize,
    text: String,
}

/// The passages of lines of Markdown, without headings and code.
fn passages(lines: &[&str]) -> Vec<Passage> {
    let (mut found, mut is_code, mut goes_on): (Vec<Passage>, bool, bool) = (Vec::new(), false, false);
    for (index, line) in lines.iter().map(|line| line.trim()).enumerate() {
        is_code ^= line.starts_with("```");
        if is_code || line.is_empty() || line.starts_with('#') || line.starts_with("```") {
            goes_on = false;
        } else if let Some(row) = line.strip_prefix('|') {
            found.extend(row.split('|').map(|cell| Passage { line: index + 1, lines: 1, text: cell.to_owned() }));
            goes_on = false;
        } else if let Some(last) = found.last_mut().filter(|_| goes_on && !is_item(line)) {
            last.lines += 1;
            last.text = format!("{} {line}", last.text);
        } else {
            found.push(Passage { line: index + 1, lines: 1, text: line.to_owned() });
            goes_on = true;
        }
    }
    found
}

fn is_item(line: &str) -> bool {
    let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
    let number = mark.strip_suffix('.').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    !rest.is_empty() && (number || ["-", "*"].contains(&mark))
}

/// The sentences that are too long, of passages of which the first line is line `first` of `name`.
fn long_sentences(name: &str, first: usize, passages: &[Passage]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Passage { line, text, .. } in passages {
        let (mut count, mut start) = (0, "");
        for word in text.split_whitespace() {
            start = if count == 0 { word } else { start };
            count += usize::from(word.contains(char::is_alphanumeric));
            let bare = word.trim_end_matches([')', '"', '*', '`']);
            if bare.ends_with(['.', '?', '!']) {
                complaints.extend(too_long(name, first + line, start, count));
                count = 0;
            }
        }
        complaints.extend(too_long(name, first + line, start, count));
    }
    complaints
}

fn too_long(name: &str, line: usize, start: &str, words: usize) -> Option<String> {
    (words > MOST_WORDS_OF_A_SENTENCE).then(|| format!("{name}:{line}: {words} words from {start:?} on"))
}

fn long_paragraphs(name: &str, passages: &[Passage]) -> Vec<String> {
    let long = passages.iter().filter(|passage| passage.lines > MOST_LINES_OF_A_PARAGRAPH);
    long.map(|passage| format!("{name}:{}: a paragraph of {} lines", passage.line, passage.lines)).collect()
}

/// The doc comments of a source, each with the number of the line before it.
fn doc_comments(text: &str) -> Vec<(usize, Vec<&str>)> {
    let (mut found, mut last): (Vec<(usize, Vec<&str>)>, &str) = (Vec::new(), "");
    for (index, line) in text.lines().map(str::trim_start).enumerate() {
        let kind = ["///", "//!"].into_iter().find(|kind| line.starts_with(kind)).unwrap_or("");
        let comment = line.strip_prefix(kind).unwrap_or("");
        match found.last_mut() {
            _ if kind.is_empty() => {}
            Some((_, lines)) if kind == last => lines.push(comment),
            _ => found.push((index, vec![comment])),
        }
        last = kind;
    }
    found
}

fn complaints_of_docs(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (before, lines) in doc_comments(text) {
        let word = first_word(lines[0].trim());
        if NOT_FIRST.contains(&word.as_str()) {
            complaints.push(format!("{name}:{}: begins with {word:?}", before + 1));
        }
        complaints.extend(long_sentences(name, before, &passages(&lines)));
    }
    complaints
}

#[test]
fn doc_comments_stand_alone_and_are_read_once() {
    let sources = all_code();
    assert_none(sources.iter().flat_map(|source| complaints_of_docs(&source.name(), &source.text)).collect());
}

#[test]
fn documents_are_read_once() {
    let mut complaints = Vec::new();
    for name in PROSE {
        let text = read(name);
        let passages = passages(&text.lines().collect::<Vec<_>>());
        complaints.extend(long_sentences(name, 0, &passages));
        complaints.extend(long_paragraphs(name, &passages));
    }
    assert_none(complaints);
}

#[test]
fn bad_prose_is_found() {
    for word in NOT_FIRST {
        let found = complaints_of_docs("f", &format!("fn f() {{}}\n\n    /// {word} is here.\n    /// It goes on.\n"));
        assert_eq!(found, [format!("f:3: begins with {word:?}")]);
    }
    let words = |count: usize| vec!["word"; count].join(" ");
    let (most, more) = (words(MOST_WORDS_OF_A_SENTENCE), words(MOST_WORDS_OF_A_SENTENCE + 1));
    assert!(
        complaints_of_docs("f", &format!("//! {most}. {most}.\n//!\n//! - {most}\n/// {most}:\n/// - {most}"))
            .is_empty()
    );
    assert!(complaints_of_docs("f", &format!("// {more}\n/// ```\n/// {more}\n/// ```\n/// # {more}")).is_empty());
    for bad in [
        format!("/// A b.\n/// {more}."),
        format!("/// A b.\n///\n/// - {more}"),
        format!("/// {most}\n/// word (a)."),
        format!("/// | {most} | {more} |"),
        format!("/// {most}: {most}; word."),
    ] {
        assert_eq!(complaints_of_docs("f", &bad).len(), 1, "{bad}");
    }
    let lines = |count| vec!["word"; count];
    assert!(long_paragraphs("f", &passages(&lines(MOST_LINES_OF_A_PARAGRAPH))).is_empty());
    assert_eq!(long_paragraphs("f", &passages(&lines(MOST_LINES_OF_A_PARAGRAPH + 1))).len(), 1);
    let items =
        [lines(MOST_LINES_OF_A_PARAGRAPH), vec!["- an item"], vec!["2. another"], lines(MOST_LINES_OF_A_PARAGRAPH)];
    assert_eq!(long_paragraphs("f", &passages(&items.concat())), ["f:8: a paragraph of 7 lines"]);
}

/// Libraries that a service needs which is protected, and no server among them: `cargo tree`.
#[test]
fn published_packages_need_no_server() {
    let server = [
        "countersign",
        "sqlx",
        "argon2",
        "axum",
        "clap",
        "hyper-server",
        "tonic-health",
        "tonic-reflection",
        "tonic-web",
    ];
    let io = ["tokio", "tonic", "hyper", "prost"];
    let c = ["cc", "cmake", "aws-lc-rs", "aws-lc-sys", "ring", "rustls"];
    let pure = ["--no-default-features", "--features", "pure"];
    for (package, features, unwanted) in [
        ("countersign-client", &[][..], &server[..]),
        ("countersign-token", &[], &[&server[..], &io].concat()),
        ("countersign-client", &pure, &c),
        ("countersign-token", &pure, &c),
    ] {
        let tree = ["tree", "--locked", "-e", "normal,build", "--prefix", "none", "--format", "{p}", "-p"];
        let arguments = [&tree[..], &[package], features].concat();
        let output = std::process::Command::new(env!("CARGO")).args(arguments).output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).expect("text");
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&"jsonwebtoken"), "{tree}");
        for name in unwanted {
            assert!(!names.contains(name), "{package} {features:?} needs {name}");
        }
    }
}
