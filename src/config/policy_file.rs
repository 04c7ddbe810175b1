//! The policy file: lists and tables that flags cannot say, in TOML. It is read before any port is opened, and again while the
//! server runs. One that cannot be used then changes nothing: what it said before stays.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use super::{callers, file::read_file, routes, toml_notes::Notes};
use crate::{
    domain::{caller_policy::CallerPolicy, policy::ForwardAuth, route::RoutePolicy},
    error::Error,
};

const SETTING: &str = "policy-file";
/// The keys of the file itself.
const KEYS: [&str; 4] = ["callers", "routes", "tokens", "trusted_proxies"];

/// The content of a policy file. A key that is not known is refused: it may be a rule that somebody relies on.
#[derive(Debug, Default)]
pub struct FilePolicy {
    /// The policy of callers.
    pub callers: Arc<CallerPolicy>,
    /// The demands on requests that proxies ask about.
    pub routes: RoutePolicy,
}

/// A policy file, and what it said when it could last be used.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    /// The content at the last look, usable or not; None if it could not be read.
    seen: Option<Zeroizing<String>>,
    routes: Routes,
    current: Arc<ArcSwap<FilePolicy>>,
}

/// The use of rules for routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routes {
    /// Rules are matched.
    Matched,
    /// A proxy asks that names no request: rules would deny everything.
    Unknown,
}

impl Routes {
    /// The use that they have beside this forward auth.
    pub fn of(forward_auth: ForwardAuth) -> Self {
        if forward_auth == ForwardAuth::Token { Self::Unknown } else { Self::Matched }
    }
}

/// The reason for reading a file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Nobody asked: the file may have changed.
    Look,
    /// Somebody asked, and wants to see what came of it.
    Request,
}

/// The outcome of reading a file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// The content is as it was.
    Unchanged,
    /// The content is in force.
    Used,
    /// The content cannot be used, and what it was before stays in force.
    Kept,
}

impl PolicyFile {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] names the file, and the line that cannot be used.
    pub fn read(path: PathBuf, routes: Routes) -> Result<Self, Error> {
        let text = read_file(SETTING, &path)?;
        let current = Arc::new(ArcSwap::from_pointee(parse(&path, &text, routes)?));
        Ok(Self { path, seen: Some(text), routes, current })
    }

    /// The policy in force, also after it has changed.
    pub fn current(&self) -> Arc<ArcSwap<FilePolicy>> {
        Arc::clone(&self.current)
    }

    /// Reads the file again, and says in the log what came of it; once for each change unless it was asked for.
    pub fn read_again(&mut self, occasion: Occasion) -> Reread {
        let (seen, parsed) = match read_file(SETTING, &self.path) {
            Ok(text) => {
                let parsed = parse(&self.path, &text, self.routes);
                (Some(text), parsed)
            }
            Err(error) => (None, Err(error)),
        };
        if occasion == Occasion::Look && seen == self.seen {
            return Reread::Unchanged;
        }
        self.seen = seen;
        match parsed {
            Ok(policy) => {
                self.current.store(Arc::new(policy));
                tracing::info!(file = %self.path.display(), "read the policy file");
                Reread::Used
            }
            Err(error) => {
                tracing::error!(%error, "the policy file cannot be used: what it said before stays in force");
                Reread::Kept
            }
        }
    }
}

fn parse(path: &Path, text: &str, rules: Routes) -> Result<FilePolicy, Error> {
    let mut notes = Notes::new(SETTING, path, text);
    let document = notes.document();
    if !notes.is_empty() {
        return notes.finish(FilePolicy::default());
    }
    for key in document.keys().filter(|key| !KEYS.contains(&key.get_ref().as_ref())) {
        notes.unknown_key(key, &KEYS);
    }
    let callers = Arc::new(callers::read(&document, &mut notes));
    let routes = routes::read(&document, &mut notes);
    if let (Routes::Unknown, Some(value)) = (rules, document.get("routes")) {
        notes.add(
            &value.span(),
            "with --forward-auth=token the request is not known: x-original, x-forwarded or path say it",
        );
    }
    notes.finish(FilePolicy { callers, routes })
}

#[cfg(test)]
mod tests {
    use std::{env, fs, os::unix::fs::symlink, process};

    use super::*;

    /// A directory that goes away with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("countersign-policy-{name}-{}", process::id()));
            fs::create_dir(&path).expect("created");
            Self(path)
        }

        fn write(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, content).expect("written");
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn refused(text: &str) -> String {
        parse(Path::new("p.toml"), text, Routes::Matched).expect_err("refused").to_string()
    }

    #[test]
    fn what_cannot_be_used_is_said_with_its_line() {
        assert!(
            parse(Path::new("p.toml"), "# nothing\r\n\r\n", Routes::Matched).expect("empty").callers.callers.is_none()
        );
        for (text, line) in [
            ("callers = 1\n", 1),
            ("\n# one\n[other]\nname = 1\n", 3),
            ("\r\n\r\n[[rules]]\r\n", 3),
            ("\n\nx = = 1\n", 3),
            ("\n\"open", 2),
        ] {
            let said = refused(text);
            assert!(said.starts_with(&format!("policy-file: p.toml:{line}: ")), "{text:?}: {said}");
            assert!(!said.contains('\n'), "one line: {said:?}");
        }
        assert!(refused("caller = []\n").contains("unknown key `caller`, expected one of callers, "));
    }

    #[test]
    fn rules_are_refused_where_no_request_is_known() {
        let text = "\n[[routes]]\npath = \"/x\"\n";
        let refused = parse(Path::new("p.toml"), text, Routes::Unknown).expect_err("refused").to_string();
        assert!(refused.starts_with("policy-file: p.toml:2: with --forward-auth=token"), "{refused}");
        assert!(
            parse(Path::new("p.toml"), "[[tokens]]\n", Routes::Unknown).is_err()
                && parse(Path::new("p"), text, Routes::Matched).is_ok()
        );
    }

    #[test]
    fn a_file_is_read_again_when_its_content_changes_or_somebody_asks() {
        let directory = Directory::new("changes");
        let path = directory.write("policy.toml", "\u{feff}# one\r\n");
        let mut file = PolicyFile::read(path.clone(), Routes::Matched).expect("read");
        assert_eq!(file.read_again(Occasion::Look), Reread::Unchanged);
        assert_eq!(file.read_again(Occasion::Request), Reread::Used);
        directory.write("policy.toml", "caller = []\n");
        assert_eq!([Occasion::Look; 2].map(|again| file.read_again(again)), [Reread::Kept, Reread::Unchanged]);
        assert_eq!(file.read_again(Occasion::Request), Reread::Kept);
        fs::remove_file(&path).expect("removed");
        assert_eq!([Occasion::Look; 2].map(|again| file.read_again(again)), [Reread::Kept, Reread::Unchanged]);
        directory.write("policy.toml", "# two\n");
        assert_eq!([Occasion::Look; 2].map(|again| file.read_again(again)), [Reread::Used, Reread::Unchanged]);
    }

    #[test]
    fn a_link_that_is_swapped_is_a_change() {
        let directory = Directory::new("link");
        let (one, two) = (directory.write("one", "# one\n"), directory.write("two", "# two\n"));
        let (link, draft) = (directory.0.join("policy.toml"), directory.0.join("draft"));
        symlink(one, &link).expect("linked");
        let mut file = PolicyFile::read(link.clone(), Routes::Matched).expect("read");
        symlink(two, &draft).expect("linked");
        fs::rename(draft, link).expect("swapped");
        assert_eq!(file.read_again(Occasion::Look), Reread::Used);
    }
}
