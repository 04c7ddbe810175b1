//! Proxies that verify tokens by themselves, and are told by replicas what has ended.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use super::revocation::Position;

/// A proxy that a replica tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldProxy {
    /// The name that it has given itself.
    pub name: String,
    /// True if it is told of sessions and users. One that is told of keys alone is shown, and does not count.
    pub has_list: bool,
    /// The caller policy's name of it; empty for none.
    pub caller: String,
    /// The moment at which its stream began.
    pub connected_at: OffsetDateTime,
    /// The last row of the log up to which it has confirmed everything; None for nothing of this log.
    pub reached: Option<i64>,
    /// Time for which something that it was sent has not been confirmed.
    pub lag: Duration,
    /// The reason for which it has refused something, and has not taken it since.
    pub refusal: Option<String>,
    /// False after its stream has ended, as long as it may accept tokens without having heard more.
    pub is_connected: bool,
}

/// The report of a replica about the proxies that it tells.
#[derive(Clone, Debug)]
pub struct ProxyReport {
    /// The last row of the log that the replica knew. The report counts only in a log that holds this row.
    pub as_of: Position,
    /// The counter of the reports.
    pub count: i64,
    /// Time after which no proxy of the replica accepts tokens any more, if the replica reports nothing.
    pub silent_after: Duration,
    /// All proxies.
    pub proxies: Vec<ToldProxy>,
    /// True if people are to be told of each; else their numbers alone are reported.
    pub in_detail: bool,
}

/// Proxies that have confirmed the log up to the same row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyGroup {
    /// The row's number, 0 for none.
    pub seq: i64,
    /// The number of proxies.
    pub count: u64,
}

/// The numbers of proxies that are told, and of those that have confirmed something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyCount {
    /// All proxies.
    pub connected: u64,
    /// The ones that have confirmed it.
    pub confirmed: u64,
}

/// A proxy as `mesh status` shows it.
#[derive(Clone, Debug)]
pub struct ReportedProxy {
    /// The replica that tells it.
    pub replica: Uuid,
    /// The time since the report.
    pub age: Duration,
    /// Number of rows of the log that it has not confirmed; None if it has confirmed nothing of this log.
    pub behind: Option<i64>,
    /// The proxy.
    pub proxy: ToldProxy,
}

impl ProxyCount {
    /// Counts the proxies that have confirmed a row.
    pub fn of(groups: &[ProxyGroup], row: i64) -> Self {
        let sum = |groups: &mut dyn Iterator<Item = &ProxyGroup>| groups.map(|group| group.count).sum();
        let confirmed = sum(&mut groups.iter().filter(|group| group.seq >= row));
        Self { connected: sum(&mut groups.iter()), confirmed }
    }

    /// True if all have confirmed it.
    pub fn is_complete(self) -> bool {
        self.confirmed == self.connected
    }
}

/// Groups the proxies that count by the row that they have confirmed, in order.
pub fn groups(proxies: &[ToldProxy]) -> Vec<ProxyGroup> {
    let mut rows: Vec<i64> =
        proxies.iter().filter(|proxy| proxy.has_list).map(|proxy| proxy.reached.unwrap_or(0)).collect();
    rows.sort_unstable();
    let groups = rows.chunk_by(|one, other| one == other);
    groups.filter_map(|group| Some(ProxyGroup { seq: *group.first()?, count: group.len() as u64 })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_counted_by_the_row_that_they_have_confirmed() {
        let proxy = |reached| ToldProxy {
            name: "edge".to_owned(),
            has_list: true,
            caller: String::new(),
            connected_at: OffsetDateTime::UNIX_EPOCH,
            reached,
            lag: Duration::ZERO,
            refusal: None,
            is_connected: true,
        };
        let groups = groups(&[Some(7), None, Some(9), Some(7)].map(proxy));
        let group = |seq, count| ProxyGroup { seq, count };
        assert_eq!(groups, [group(0, 1), group(7, 2), group(9, 1)]);
        let count = |row| ProxyCount::of(&groups, row);
        assert_eq!(count(1), ProxyCount { connected: 4, confirmed: 3 });
        assert_eq!(count(8), ProxyCount { connected: 4, confirmed: 1 });
        assert!(!count(8).is_complete() && ProxyCount::of(&[], 8).is_complete());
    }
}
