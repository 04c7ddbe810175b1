//! The picture of one moment: what each replica and the database told last, and what is wrong by that.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    database::{Facts, OnList},
    replica::{Seen, Told},
};
use crate::{
    auth::overview::ShownEvent,
    metrics::{Recent, Severity, findings},
};

/// The things that were told last. Clones share what is large.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    /// The replicas, by their URLs; None for one that was not asked yet.
    pub(super) replicas: Vec<Option<Seen>>,
    /// The facts of the database, or a sentence on why there are none; None before it was asked, or if there is no database.
    pub(super) facts: Option<Result<Arc<Facts>, String>>,
    /// True if the settings name a database.
    pub(super) has_database: bool,
}

/// News of what is watched.
#[derive(Debug)]
pub(super) enum News {
    /// The replica at this place was asked.
    Replica(usize, Seen),
    /// The database was asked.
    Database(Result<Facts, String>),
}

/// A thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wrong {
    pub(super) severity: Severity,
    pub(super) what: String,
    pub(super) remedy: &'static str,
}

impl Picture {
    pub(super) fn new(replicas: usize, has_database: bool) -> Self {
        Self { replicas: vec![None; replicas], facts: None, has_database }
    }

    /// Takes in what was told.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Replica(place, seen) => {
                if let Some(known) = self.replicas.get_mut(place) {
                    *known = Some(seen);
                }
            }
            News::Database(facts) => self.facts = Some(facts.map(Arc::new)),
        }
    }

    pub(super) fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()?.as_deref().ok()
    }

    /// The newest events, newest first; none if the database does not say.
    pub(super) fn events(&self) -> Option<&[ShownEvent]> {
        self.facts()?.overview.events.as_deref()
    }

    /// The replicas that answer.
    pub(super) fn answering(&self) -> impl Iterator<Item = (&Seen, &Told)> {
        self.replicas.iter().flatten().filter_map(|seen| Some((seen, seen.state.as_ref().ok()?)))
    }

    /// The metrics of all replicas that answer, together.
    pub(super) fn together(&self) -> Recent {
        Recent::together(self.answering().map(|(_, told)| &told.recent))
    }

    /// The replicas on the list of the database that are at none of the URLs.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = &OnList> {
        let named: BTreeSet<_> = self.replicas.iter().flatten().filter_map(|seen| seen.id).collect();
        let listed = self.facts().into_iter().flat_map(|facts| &facts.replicas);
        listed.filter(move |replica| !named.contains(&replica.seen.id))
    }

    /// All that is wrong, the gravest first. Several replicas that say the same are named together.
    pub(super) fn wrong(&self) -> Vec<Wrong> {
        let mut all: Vec<(Wrong, Vec<&str>)> = Vec::new();
        for (seen, told) in self.answering() {
            for found in findings(&told.minute) {
                let wrong = Wrong { severity: found.severity, what: found.what, remedy: found.remedy };
                match all.iter_mut().find(|(known, _)| *known == wrong) {
                    Some((_, by)) => by.push(&seen.name),
                    None => all.push((wrong, vec![&seen.name])),
                }
            }
        }
        let named =
            |(wrong, by): (Wrong, Vec<&str>)| Wrong { what: format!("{}: {}", by.join(", "), wrong.what), ..wrong };
        let mut wrong: Vec<Wrong> = self.unreached().chain(all.into_iter().map(named)).collect();
        wrong.sort_by_key(|wrong| std::cmp::Reverse(wrong.severity));
        wrong
    }

    /// All that does not answer.
    fn unreached(&self) -> impl Iterator<Item = Wrong> {
        let silent = self.replicas.iter().flatten().filter_map(|seen| seen.state.as_ref().err());
        let database = self.facts.iter().filter_map(|facts| facts.as_ref().err());
        let error = |what: &String, remedy| Wrong { severity: Severity::Error, what: what.clone(), remedy };
        let silent = silent.map(move |what| error(what, "Start it or correct its URL, unless it is about to serve."));
        silent.chain(database.map(move |what| error(what, "Keys, events and the list of replicas are not shown.")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::{auth::overview::Overview, cli::top::testing::told, domain::replica::SeenReplica};

    fn seen(name: &str, state: Result<Told, String>) -> Option<Seen> {
        Some(Seen { name: name.to_owned(), id: Some(Uuid::from_u128(1)), state })
    }

    #[test]
    fn what_several_replicas_say_alike_is_said_once_and_the_gravest_first() {
        let stale =
            "countersign_revocation_freshness_age_seconds +Inf\ncountersign_revocation_freshness_bound_seconds 30\n";
        let silent = "countersign_replicas{state=\"silent\"} 1\n";
        let mut picture = Picture::new(4, false);
        let texts = [silent, silent, stale];
        for (place, text) in texts.into_iter().enumerate() {
            let state = Ok(told(&[text]));
            picture.take(News::Replica(place, seen(&format!("r:{place}"), state).expect("one")));
        }
        picture.take(News::Replica(3, seen("r:3", Err("r:3 refused the connection".to_owned())).expect("one")));
        let said: Vec<_> = picture.wrong().into_iter().map(|wrong| (wrong.severity, wrong.what)).collect();
        let stale = "r:2: What is known of revocations is not there: Verify refuses (the bound is 30 s)";
        assert_eq!(
            said,
            [
                (Severity::Error, "r:3 refused the connection".to_owned()),
                (Severity::Error, stale.to_owned()),
                (Severity::Warning, "r:0, r:1: 1 replica has been silent".to_owned()),
            ]
        );
    }

    #[test]
    fn a_replica_of_the_list_is_elsewhere_unless_a_url_has_its_id() {
        let listed = |id| OnList {
            seen: SeenReplica {
                id: Uuid::from_u128(id),
                applied_seq: 0,
                silent_for: Duration::ZERO,
                max_staleness: Duration::from_secs(30),
            },
            is_heard: true,
        };
        let overview = Overview { keys: None, events: None };
        let mut picture = Picture::new(1, true);
        picture.take(News::Database(Ok(Facts { overview, replicas: vec![listed(1), listed(2)], head: 0 })));
        assert_eq!(picture.elsewhere().count(), 2);
        picture.take(News::Replica(0, seen("r", Err("r does not answer any more".to_owned())).expect("one")));
        assert_eq!(picture.elsewhere().map(|it| it.seen.id.as_u128()).collect::<Vec<_>>(), [2]);
    }
}
