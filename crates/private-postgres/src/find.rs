//! The search for the Postgres programs: in PATH, where `pg_config` says, and in the places of Debian, Fedora and
//! Homebrew. If `COUNTERSIGN_POSTGRES_BIN` names a directory, that one alone is searched.
//!
//! A directory counts only with all of `initdb`, `postgres` and `pg_ctl`. Links are resolved first, because each
//! program finds its siblings and its share directory from its own real path.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::LaunchError;

const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// The variable that names the directory of the programs where the newest is not wanted.
const CHOSEN: &str = "COUNTERSIGN_POSTGRES_BIN";

/// Directories that hold one installation per version: parent, start of the name, rest.
const VERSIONED: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
];

/// One installation of the Postgres programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    directory: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
}

impl Binaries {
    /// The newest installation on this machine.
    pub fn find() -> Result<Self, LaunchError> {
        Self::find_in(&places())
    }

    /// The newest installation in `places`, which are directories of programs or of links to them.
    fn find_in(places: &[PathBuf]) -> Result<Self, LaunchError> {
        let newest = installed(places).into_iter().max_by_key(|b| b.version);
        newest.ok_or(LaunchError::NotInstalled)
    }

    /// The newest installation of one major version, if there is any. Existing data needs it once the distribution has
    /// put a newer Postgres beside the old one.
    pub(super) fn find_major(major: u32) -> Option<Self> {
        let mut found = installed(&places());
        found.retain(|binaries| binaries.version.major == major);
        found.into_iter().max_by_key(|b| b.version)
    }

    /// The major version, such as 17.
    pub fn major(&self) -> u32 {
        self.version.major
    }

    /// The path of a program, such as `psql`, of this installation.
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

fn places() -> Vec<PathBuf> {
    if let Some(chosen) = env::var_os(CHOSEN).filter(|chosen| !chosen.is_empty()) {
        return vec![PathBuf::from(chosen)];
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = env::split_paths(&path).collect();
    places.extend(pg_config());
    places.push(PathBuf::from("/usr/bin"));
    for (parent, start, rest) in VERSIONED {
        places.extend(versioned(Path::new(parent), start, rest));
    }
    places
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(line.trim()))
}

fn versioned(parent: &Path, start: &str, rest: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.filter(|e| e.file_name().to_string_lossy().starts_with(start));
    named.map(|e| e.path().join(rest)).collect()
}

fn installed(places: &[PathBuf]) -> Vec<Binaries> {
    let mut directories: Vec<PathBuf> = places.iter().flat_map(|p| real_directories(p)).collect();
    directories.sort();
    directories.dedup();
    directories.retain(|d| PROGRAMS.iter().all(|program| d.join(program).is_file()));
    directories.into_iter().filter_map(inspect).collect()
}

/// The directories in which the programs of `place` really are: its own, or that of the links.
fn real_directories(place: &Path) -> Vec<PathBuf> {
    let real = |program: &&str| fs::canonicalize(place.join(program)).ok();
    let files = PROGRAMS.iter().filter_map(real);
    files.filter_map(|f| f.parent().map(Path::to_owned)).collect()
}

fn inspect(directory: PathBuf) -> Option<Binaries> {
    let postgres = directory.join("postgres");
    let output = Command::new(postgres).arg("--version").output().ok()?;
    let version = parse_version(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries { directory, version })
}

/// Reads `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, and `18devel` or `18beta1` too.
fn parse_version(line: &str) -> Option<Version> {
    let (_, version) = line.split_once("(PostgreSQL) ")?;
    let mut parts = version.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().and_then(|m| m.parse().ok()).unwrap_or(0);
    Some(Version { major, minor })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::tests::ScratchDir;

    /// An installation as far as `find` can see: three programs that tell a version.
    fn install(scratch: &ScratchDir, name: &str, version: &str) -> PathBuf {
        let directory = scratch.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        for program in PROGRAMS {
            let script = format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n");
            fs::write(directory.join(program), script).unwrap();
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(directory.join(program), mode).unwrap();
        }
        directory.canonicalize().unwrap()
    }

    #[test]
    fn a_version_line_gives_major_and_minor() {
        let table = [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", Some((15, 14))),
            ("postgres (PostgreSQL) 17.2", Some((17, 2))),
            ("postgres (PostgreSQL) 18devel", Some((18, 0))),
            ("postgres (PostgreSQL) ", None),
            ("zsh: command not found", None),
        ];
        for (line, expected) in table {
            let parsed = parse_version(line).map(|v| (v.major, v.minor));
            assert_eq!(parsed, expected, "{line}");
        }
    }

    #[test]
    fn the_newest_version_wins() {
        let scratch = ScratchDir::new();
        let places = ["9.6.24", "17.2", "16.11"].map(|v| install(&scratch, v, v));

        let found = Binaries::find_in(&places).unwrap();

        assert_eq!(found.program("initdb"), places[1].join("initdb"));
        assert_eq!(found.major(), 17);
    }

    #[test]
    fn a_link_leads_to_the_directory_it_points_at() {
        let scratch = ScratchDir::new();
        let real = install(&scratch, "real", "17.2");
        let links = scratch.path().join("links");
        fs::create_dir(&links).unwrap();
        symlink(real.join("postgres"), links.join("postgres")).unwrap();

        let found = Binaries::find_in(&[links]).unwrap();

        assert_eq!(found.program("postgres"), real.join("postgres"));
    }

    #[test]
    fn an_incomplete_directory_does_not_count_and_the_error_says_what_to_install() {
        let scratch = ScratchDir::new();
        let place = install(&scratch, "partial", "17.2");
        fs::remove_file(place.join("initdb")).unwrap();

        let line = Binaries::find_in(&[place]).unwrap_err().to_string();

        for command in ["apt-get install", "dnf install", "brew install"] {
            assert!(line.contains(command), "{line}");
        }
        assert!(!line.contains('\n'), "{line}");
    }

    #[test]
    fn versioned_places_are_listed_by_the_start_of_their_name() {
        let scratch = ScratchDir::new();
        for name in ["pgsql-16", "pgsql-17", "share"] {
            fs::create_dir(scratch.path().join(name)).unwrap();
        }

        let mut found = versioned(scratch.path(), "pgsql-", "bin");
        found.sort();

        let expected = ["pgsql-16/bin", "pgsql-17/bin"].map(|p| scratch.path().join(p));
        assert_eq!(found, expected);
    }

    #[test]
    fn this_machine_has_an_installation() {
        assert!(Binaries::find().unwrap().major() >= 10);
    }
}
