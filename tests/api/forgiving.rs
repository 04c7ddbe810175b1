//! A command line that forgives: flags where they are looked for, errors that name the thing and the remedy, files of any system.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    command_line,
    support::{ADMIN_TOKEN, Authority, MASTER_KEY, Scratch, database, database_in},
};

const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
/// A database that is not there: nothing listens on this port.
const NOBODY: &str = "postgres://ann:s3cret@127.0.0.1:1/x";
/// Commands that need a database with its tables.
const OF_A_SCHEMA: [&[&str]; 7] = [
    &["user", "list"],
    &["user", "export"],
    &["sessions", "accept-restore"],
    &["keys", "list"],
    &["keys", "export-peppers"],
    &["audit", "tail"],
    &["mesh", "status"],
];

/// The exit code, and all that was said.
fn run(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.args(args).env_remove("COUNTERSIGN_DATABASE_URL").envs(variables.iter().copied());
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    (status.code(), String::from_utf8([stdout, stderr].concat()).expect("text"))
}

fn assert_says(args: &[&str], variables: &[(&str, &str)], expected: &str) {
    let (code, said) = run(args, variables);
    assert!(code == Some(1) && said.contains(expected), "{args:?}: {code:?}: {said}");
    for never in ["s3cret", " at line ", "relation ", "postgres://"] {
        assert!(!said.contains(never), "{args:?}: {never}: {said}");
    }
}

#[tokio::test]
async fn the_database_is_named_before_or_after_the_subcommand() {
    let url = database().await;
    let file = Scratch::of(&format!("\u{feff}{url}\r\n"));
    for given in [["--database-url", &url], ["--database-url-file", file.text()]] {
        for command in OF_A_SCHEMA {
            for at in 0..=command.len() {
                let (before, after) = command.split_at(at);
                let (code, said) = run(&[before, &given, after].concat(), &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)]);
                assert_eq!(code, Some(0), "{before:?} {} {after:?}: {said}", given[0]);
            }
        }
    }
    let variable = [("COUNTERSIGN_DATABASE_URL_FILE", file.text()), ("COUNTERSIGN_DATABASE_URL", "")];
    assert_eq!(run(&["user", "list"], &variable).0, Some(0));
}

#[test]
fn a_variable_of_the_database_is_nothing_to_commands_that_have_no_use_for_one() {
    let wrong = [("COUNTERSIGN_DATABASE_CONNECTIONS", "many"), ("COUNTERSIGN_DATABASE_DEADLINE", "long")];
    assert_eq!(run(&["policy", "token"], &wrong).0, Some(0));
    let (code, said) = run(&["--database-url", NOBODY, "user", "list"], &wrong);
    assert!(code == Some(2) && said.contains("invalid value 'many'"), "{said}");
}

#[test]
fn a_database_that_is_named_twice_or_not_at_all_or_in_vain_is_said() {
    let file = Scratch::of(NOBODY);
    assert_says(
        &["--database-url", NOBODY, "user", "list", "--database-url-file", file.text()],
        &[],
        "countersign: database-url-file: not together with database-url",
    );
    assert_says(&["user", "list", "--database-url-file", Scratch::of("\r\n").text()], &[], "it is empty");
    for command in OF_A_SCHEMA.into_iter().chain([&["migrate"][..], &["serve", "--plaintext"]]) {
        let (code, said) = run(command, &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)]);
        assert!(code == Some(1) && said.contains("database-url: needed: --database-url"), "{command:?}: {said}");
    }
    for args in [&["--database-url", NOBODY, "dev"][..], &["hash", "calibrate", "--database-url", NOBODY]] {
        let (code, said) = run(args, &[]);
        assert!(code == Some(2) && said.contains("--database-url has no effect on `countersign "), "{said}");
    }
}

#[test]
fn a_database_that_refuses_is_named_without_its_password() {
    let key = [("COUNTERSIGN_MASTER_KEY", MASTER_KEY)];
    let serve =
        ["serve", "--plaintext", "--database-wait", "0s", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    for command in OF_A_SCHEMA.into_iter().chain([&["migrate"][..], &serve]) {
        let args = [&["--database-url", NOBODY], command].concat();
        assert_says(&args, &key, "countersign: the database at 127.0.0.1:1 refused the connection\n");
    }
    for args in [&["user", "list", NOBODY][..], &[NOBODY, "user", "list"], &["serve", "--access-token-ttl", NOBODY]] {
        let (code, said) = run(args, &[]);
        assert!(code == Some(2) && said.contains("ann:***@127.0.0.1") && !said.contains("s3cret"), "{args:?}: {said}");
    }
    // What is taken for the host may be the beginning of a password that is not escaped.
    let not_escaped = ["user", "--database-url", "postgres://zoe:1/s3cret@127.0.0.1:1/x", "list"];
    let (_, said) = run(&not_escaped, &[]);
    assert!(!said.contains("zoe") && !said.contains("s3cret") && said.contains("countersign: the database "), "{said}");
}

#[tokio::test]
async fn a_schema_that_is_missing_and_a_database_that_is_not_there_are_said_with_the_remedy() {
    let key = [("COUNTERSIGN_MASTER_KEY", MASTER_KEY)];
    let empty = database_in("UTF8").await;
    for command in OF_A_SCHEMA {
        let args = [&["--database-url", &empty], command].concat();
        assert_says(&args, &key, "migrations: run `countersign migrate`\n");
    }
    let missing = empty.replace("/encoded_", "/missing_");
    let expected = "has no such database, create it first: database \"missing_";
    assert_says(&["user", "list", "--database-url", &missing], &[], expected);
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_left_alone() {
    let url = database().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
        VALUES (99990101000000, 'newer', true, '', 0)";
    PgConnection::connect(&url).await.expect("connect").execute(newer).await.expect("written");
    let expected =
        "database-url: its schema has migration 99990101000000, which this version of countersign does not know";
    assert_says(&["migrate", "--database-url", &url], &[], expected);
    assert_eq!(run(&["user", "list", "--database-url", &url], &[]).0, Some(0), "who reads it goes on");
}

#[tokio::test]
async fn a_command_that_nobody_watches_says_nothing_of_its_progress() {
    let url = database().await;
    let row = r#"{"username":"one","password_hash":"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}"#;
    let file = Scratch::of(row);
    let quiet = [("COUNTERSIGN_LOG", "warn")];
    let imported = "1 imported, 0 skipped (there already, or twice), 0 refused\n";
    assert_eq!(run(&["--database-url", &url, "user", "import", file.text()], &quiet), (Some(0), imported.to_owned()));
    let (_, exported) = run(&["--database-url", &url, "user", "export"], &quiet);
    assert_eq!(exported.lines().count(), 1, "{exported}");
    assert_eq!(run(&["--database-url", &url, "migrate"], &quiet).1, "0 migrations applied\n");
}

#[test]
fn a_server_that_is_not_there_and_a_port_that_is_taken_are_named() {
    for (flag, more) in [("--grpc-addr", &[][..]), ("--http-addr", &["--http"])] {
        let args = [&["healthcheck", flag, "127.0.0.1:1"], more].concat();
        assert_says(&args, &[], "127.0.0.1:1 refused the connection\n");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("an address").to_string();
    let serve = ["serve", "--plaintext", "--database-url", NOBODY, "--http-addr", &addr];
    assert_says(&serve, &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)], &format!("http-addr: {addr} is in use already: "));
    for (flag, more) in [("--grpc-addr", &[][..]), ("--http-addr", &["--http"])] {
        let args = [&["healthcheck", "--timeout", "10ms", flag, &addr], more].concat();
        assert_says(&args, &[], &format!("{addr} did not answer in time\n"));
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let urls = ["--proxy", "http://127.0.0.1:1/x", "--countersign", "http://127.0.0.1:2"];
    let password = Scratch::of("a password");
    let args = [&["mesh", "selftest", "--username", "a", "--password-file", password.text()], &urls[..]].concat();
    assert_says(&args, &[], "proxy: 127.0.0.1:1 refused the connection: look whether the proxy runs");
}

/// A file with a text as Windows' editors and shells write it.
fn as_of_windows(text: &str) -> Scratch {
    Scratch::of(&command_line::as_of_windows(text))
}

#[test]
fn every_file_that_serve_reads_may_have_a_mark_and_windows_lines() {
    let authority = Authority::new();
    let own = authority.issue(&["localhost"]);
    let (pem, key_pem, ca) = (as_of_windows(&own.pem), as_of_windows(&own.key), as_of_windows(&authority.pem));
    let policy = as_of_windows("[[callers]]\nid = \"anyone\"\nrpcs = [\"Verify\"]\n");
    let (url, password) = (as_of_windows("postgres://ann@127.0.0.1:1/x"), as_of_windows("s3cret"));
    let (master, token) = (as_of_windows(MASTER_KEY), as_of_windows(ADMIN_TOKEN));
    let check = [
        ["--tls-cert-file", pem.text()],
        ["--tls-key-file", key_pem.text()],
        ["--tls-client-ca-file", ca.text()],
        ["--policy-file", policy.text()],
        ["--database-url-file", url.text()],
        ["--database-password-file", password.text()],
        ["--master-key-file", master.text()],
        ["--admin-token-file", token.text()],
    ];
    let (code, said) = run(&[&["config", "check"], check.as_flattened()].concat(), &[("COUNTERSIGN_MASTER_KEY", "")]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(run(&["policy", "check", policy.text()], &[]).0, Some(0));
    let hash = |file: &Scratch| run(&["policy", "hash", "a", file.text()], &[]);
    assert_eq!(hash(&as_of_windows(ADMIN_TOKEN)), hash(&Scratch::of(ADMIN_TOKEN)));
}

#[tokio::test]
async fn a_list_of_passwords_may_have_a_mark_and_windows_lines() {
    let (url, list) = (database().await, as_of_windows("correct horse battery staple\nanother one that is long"));
    for word in ["correct horse battery staple", "another one that is long"] {
        let add = ["user", "--database-url", &url, "--password-blocklist", list.text(), "add", "a", "--password-stdin"];
        let mut command = Command::new(BINARY);
        let input = Scratch::of(word);
        command.args(add).stdin(fs::File::open(input.text()).expect("a file"));
        let said = String::from_utf8(command.output().expect("it runs").stderr).expect("text");
        assert!(said.contains("password: "), "{word}: {said}");
    }
}

#[tokio::test]
async fn a_file_that_is_in_utf_16_is_said_to_be() {
    let file = Scratch::of("");
    let bytes: Vec<u8> = "\u{feff}anything\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(file.text(), bytes).expect("written");
    let said = "it is in UTF-16, which Windows calls Unicode: save it as UTF-8";
    let url = database().await;
    for args in [
        &["policy", "check", file.text()][..],
        &["policy", "hash", "a", file.text()],
        &["user", "list", "--database-url-file", file.text()],
        &["keys", "rotate", "--database-url", &url, "--master-key-file", file.text()],
        &["user", "--database-url", &url, "import", file.text()],
        &["user", "--database-url", &url, "--password-blocklist", file.text(), "add", "a", "--password-stdin"],
    ] {
        assert_says(args, &[("COUNTERSIGN_MASTER_KEY", "")], said);
    }
}

#[test]
fn an_empty_variable_is_none_and_an_empty_flag_is_an_error() {
    let token = Scratch::of(ADMIN_TOKEN);
    fs::set_permissions(token.text(), fs::Permissions::from_mode(0o644)).expect("changed");
    for value in ["", " ", "info"] {
        let (_, said) = run(&["policy", "hash", "a", token.text()], &[("COUNTERSIGN_LOG", value)]);
        assert!(said.contains("anybody on this machine may open"), "{value:?}: {said}");
    }
    let all = ["COUNTERSIGN_LAME_DUCK", "COUNTERSIGN_GRPC_ADDR", "COUNTERSIGN_LOG", "COUNTERSIGN_PLAINTEXT"];
    let empty: Vec<(&str, &str)> = all.into_iter().map(|name| (name, "")).collect();
    let check = ["config", "check", "--plaintext", "--database-url", "postgres://db/x"];
    let (code, said) = run(&check, &[&empty[..], &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)]].concat());
    let rows: BTreeMap<&str, &str> =
        said.lines().filter_map(|line| Some((line.split(' ').next()?, line.rsplit(' ').next()?))).collect();
    let sources = all.map(|name| rows.get(name).copied());
    assert_eq!((code, sources), (Some(0), [Some("default"), Some("default"), Some("default"), Some("flag")]), "{said}");
    let lists = [("/no/such/list", Some(1)), (token.text(), Some(0))];
    for (list, expected) in lists {
        let with_list = [&check[..], &["--password-blocklist", list]].concat();
        let (code, said) = run(&with_list, &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)]);
        assert_eq!(
            (code, said.contains("password-blocklist: /no/such/list")),
            (expected, expected == Some(1)),
            "{said}"
        );
    }
    for args in [
        &["--log", "", "keys", "list"][..],
        &["keys", "list", "--log="],
        &["keys", "list", "--database-url", ""],
        &["user", "--issuer", "", "list"],
        &["user", "add", "a", "--role="],
    ] {
        let (code, said) = run(args, &[]);
        assert!(code == Some(2) && said.contains(" is empty: give it a value, or leave it away"), "{args:?}: {said}");
    }
    let (code, said) = run(&["serve", "--policy-file="], &[]);
    assert!(code == Some(2) && said.contains("a value is required for '--policy-file"), "{said}");
}

/// The mode of a file that a command writes under this umask.
fn mode_under(umask: &str, args: &[&str], path: &Path) -> u32 {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\""), BINARY]).args(args).arg("--output").arg(path);
    let Output { status, stderr, stdout } = shell.env("COUNTERSIGN_MASTER_KEY", MASTER_KEY).output().expect("it runs");
    assert!(status.success() && stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn secrets_are_written_for_their_owner_alone_and_over_nothing() {
    let url = database().await;
    for args in [
        &["keys", "generate-master"][..],
        &["policy", "token"],
        &["keys", "export-peppers", "--database-url", &url],
        &["user", "export", "--database-url", &url],
    ] {
        for umask in ["0000", "0777"] {
            let place = Scratch::of("");
            let path = Path::new(place.text());
            fs::remove_file(path).expect("removed");
            assert_eq!(mode_under(umask, args, path), 0o600, "{args:?} under {umask}");
            fs::write(path, "what was there").expect("written");
            let refused = [args, &["--output", place.text()]].concat();
            let (code, said) = run(&refused, &[("COUNTERSIGN_MASTER_KEY", MASTER_KEY)]);
            assert!(code == Some(1) && said.contains("is there already, and stays as it is"), "{args:?}: {said}");
            assert_eq!(fs::read_to_string(path).expect("text"), "what was there");
        }
    }
}

#[test]
fn a_bash_that_reads_the_completions_completes_commands_and_flags() {
    let script = r#"source <("$0" completions bash)
        complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _countersign countersign "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}"; }
        complete_words countersign user im
        complete_words countersign keys rotate --database-u
        complete_words countersign hea"#;
    let output = Command::new("bash").args(["-c", script, BINARY]).output().expect("a bash");
    let said = String::from_utf8(output.stdout).expect("text");
    assert_eq!(said, "import\n--database-url --database-url-file\nhealthcheck\n", "{:?}", output.stderr);
}

#[test]
fn the_manual_has_a_page_for_each_command_that_man_shows() {
    let dir = Scratch::of("");
    fs::remove_file(dir.text()).expect("removed");
    let (code, said) = run(&["man", dir.text()], &[]);
    let pages: Vec<_> = fs::read_dir(dir.text()).expect("pages").map(|page| page.expect("a page").path()).collect();
    assert_eq!((code, said), (Some(0), format!("{} pages written to {}\n", pages.len(), dir.text())));
    for page in &pages {
        let text = fs::read_to_string(page).expect("text");
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
            assert!(text.contains(part), "{}: {part}", page.display());
        }
    }
    let page = Path::new(dir.text()).join("countersign-user-import.1");
    // An image of a machine may have no man.
    if let Ok(shown) = Command::new("man").arg("-l").arg(&page).env("MANWIDTH", "200").stderr(Stdio::piped()).output() {
        let (text, complaints) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
        assert!(shown.status.success() && complaints.is_empty(), "{complaints}");
        assert!(text.contains("countersign user import [OPTIONS] <FILE>") && text.contains("COUNTERSIGN_DATABASE_URL"));
    }
    fs::remove_dir_all(dir.text()).expect("removed");
}
