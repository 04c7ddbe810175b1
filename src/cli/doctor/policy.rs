//! The policy file: whether it can be used, who may change it, and whether it lists callers.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::finding::Finding;
use crate::config::{FilePolicy, PolicyFile, Routes};

const CHECK: &str = "policy.file";
/// Permissions of the group and of all others to write.
const WRITERS: u32 = 0o022;

/// Checks the file.
pub(super) fn check(path: Option<&Path>, routes: Routes) -> Vec<Finding> {
    let Some(path) = path else {
        return vec![Finding::ok(CHECK, "none: the server's defaults hold")];
    };
    match PolicyFile::read(path.to_owned(), routes) {
        Ok(file) => {
            let mode = fs::metadata(path).map(|file| file.permissions().mode()).unwrap_or_default();
            judge(path, mode, &file.current().load())
        }
        Err(error) => Finding::of(CHECK, &error, "`countersign policy check FILE` says all that is wrong"),
    }
}

fn judge(path: &Path, mode: u32, policy: &FilePolicy) -> Vec<Finding> {
    let (path, shown) = (path.display(), mode & 0o777);
    let mut found = Vec::new();
    if mode & WRITERS != 0 {
        let what = format!("{path} has mode {shown:o}: others than its owner may change who may do what");
        found.push(Finding::warning(CHECK, what, format_args!("chmod go-w {path}")));
    }
    match &policy.callers.callers {
        None => found.push(Finding::hint(
            CHECK,
            format_args!("{path} lists no callers: any service that reaches the port may log users in"),
            "list them: docs/callers.md",
        )),
        Some(callers) if found.is_empty() => {
            let (callers, routes) = (callers.len(), policy.routes.0.len());
            found.push(Finding::ok(CHECK, format_args!("{path} can be used: {callers} callers, {routes} routes")));
        }
        Some(_) => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Severity;

    #[test]
    fn a_file_that_others_may_write_or_that_lists_nobody_is_said() {
        let judge = |mode| judge(Path::new("p.toml"), mode, &FilePolicy::default());
        assert_eq!(judge(0o644).iter().map(|it| it.severity).collect::<Vec<_>>(), [Severity::Hint]);
        assert_eq!(judge(0o664).iter().map(|it| it.severity).collect::<Vec<_>>(), [Severity::Warning, Severity::Hint]);
        assert_eq!(check(None, Routes::Matched)[0].severity, Severity::Ok);
    }
}
