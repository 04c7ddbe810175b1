//! The replicas on the list: whether each still reports, and how far it has read the log. The list knows no versions.

use std::time::Duration;

use tokio::time::sleep;

use super::finding::Finding;
use crate::{
    domain::replica::Listed,
    error::Error,
    store::{Conn, inspection, replicas},
};

const CHECK: &str = "replicas";
/// Pause between two looks at the list. A replica reports once a second at least.
const PAUSE: Duration = Duration::from_millis(2500);

/// The list at two moments, and the newest row of the log at the first.
#[derive(Debug, Default)]
pub(super) struct Seen {
    before: Vec<Listed>,
    after: Vec<Listed>,
    head: i64,
}

impl Seen {
    /// Looks at the list, twice if anybody is on it.
    ///
    /// # Errors
    /// [`Error::DatabaseUnavailable`].
    pub(super) async fn look(conn: &mut Conn) -> Result<Self, Error> {
        let before = replicas::list(conn, &[]).await?.replicas;
        let head = inspection::head(conn).await?;
        if before.is_empty() {
            return Ok(Self { head, ..Self::default() });
        }
        sleep(PAUSE).await;
        Ok(Self { before, after: replicas::list(conn, &[]).await?.replicas, head })
    }

    /// Number of replicas.
    pub(super) fn count(&self) -> usize {
        self.after.len()
    }

    /// Judges each replica, by the bound that the settings say.
    pub(super) fn judge(&self, bound: Option<Duration>) -> Vec<Finding> {
        if self.after.is_empty() {
            return vec![Finding::hint(CHECK, "no server runs on this database", "start one: `countersign serve`")];
        }
        self.after.iter().map(|replica| self.one(replica, bound)).collect()
    }

    fn one(&self, replica: &Listed, bound: Option<Duration>) -> Finding {
        let (id, said) = (replica.id, humantime::format_duration(replica.max_staleness));
        let behind = self.head.saturating_sub(replica.applied_seq).max(0);
        let former = self.before.iter().find(|it| it.id == replica.id);
        if former.is_some_and(|it| it.count == replica.count) {
            let what = format!("{id} is silent: each Revoke waits for it until it has been for {said}");
            return Finding::warning(CHECK, what, "look if it hangs or was killed; it leaves the list by itself");
        }
        if behind > 0 {
            let what = format!("{id} reports, and is {behind} rows of the log behind");
            return Finding::warning(CHECK, what, "look at its log and its CPU: it should take milliseconds");
        }
        match bound.filter(|bound| *bound != replica.max_staleness) {
            Some(bound) => Finding::hint(
                CHECK,
                format_args!("{id} has a bound of {said}, and the settings here {}", humantime::format_duration(bound)),
                "give all replicas and commands the same COUNTERSIGN_MAX_STALENESS",
            ),
            None => Finding::ok(CHECK, format_args!("{id} reports, and has read all of the log")),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::cli::doctor::finding::Severity;

    const BOUND: Duration = Duration::from_secs(30);

    fn listed(count: i64, applied_seq: i64) -> Listed {
        Listed { id: Uuid::nil(), applied_seq, count, max_staleness: BOUND }
    }

    fn judge(before: Vec<Listed>, after: Vec<Listed>, bound: Duration) -> Vec<Severity> {
        Seen { before, after, head: 7 }.judge(Some(bound)).iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn a_replica_is_judged_by_what_it_reports_meanwhile() {
        assert_eq!(judge(vec![listed(1, 7)], vec![listed(2, 7)], BOUND), [Severity::Ok]);
        assert_eq!(judge(vec![listed(1, 7)], vec![listed(1, 7)], BOUND), [Severity::Warning], "silent");
        assert_eq!(judge(vec![listed(1, 6)], vec![listed(2, 6)], BOUND), [Severity::Warning], "behind");
        assert_eq!(judge(vec![listed(1, 6)], vec![listed(2, 9)], BOUND), [Severity::Ok], "more was revoked");
        assert_eq!(judge(vec![], vec![listed(1, 7)], BOUND), [Severity::Ok], "it has just come");
        assert_eq!(judge(vec![listed(1, 7)], vec![listed(2, 7)], BOUND * 2), [Severity::Hint], "another bound");
        assert_eq!(judge(vec![], vec![], BOUND), [Severity::Hint], "nobody");
    }
}
