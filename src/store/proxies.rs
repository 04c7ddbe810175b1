//! Table `proxy_reports`: the proxies that each replica tells what has ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{query, query_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Conn;
use crate::{
    domain::{
        proxy::{ProxyGroup, ProxyReport, ReportedProxy, ToldProxy, groups},
        replica::{Listed, ListedProxies},
    },
    error::Error,
};

/// A proxy as it is stored, for people.
#[derive(Deserialize, Serialize)]
struct Stored {
    name: String,
    has_list: bool,
    caller: String,
    connected_at: i64,
    reached: Option<i64>,
    lag_ms: u64,
    refusal: Option<String>,
    is_connected: bool,
}

/// Takes the place of what a replica has reported before. Waits for no disk: what is lost comes again in a second.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn report(conn: &mut Conn, replica: Uuid, report: &ProxyReport) -> Result<(), Error> {
    let groups = groups(&report.proxies);
    let seqs: Vec<i64> = groups.iter().map(|group| group.seq).collect();
    let counts: Vec<i64> = groups.iter().map(|group| i64::try_from(group.count).unwrap_or(i64::MAX)).collect();
    let proxies: Vec<Stored> = report.proxies.iter().map(Stored::from).collect();
    let proxies = report.in_detail.then(|| serde_json::to_string(&proxies)).transpose().map_err(Error::internal)?;
    let statement = query(
        "WITH mode AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true)), \
         known AS (SELECT EXISTS (SELECT FROM revocations WHERE seq = $6 AND id = $7) OR $6 = 0 AS it) \
         INSERT INTO proxy_reports (replica, count, silent_after_ms, seqs, counts, proxies, reported_at) \
         SELECT $1, $2, $3, CASE WHEN known.it THEN $4::bigint[] ELSE array_fill(0::bigint, ARRAY[cardinality($4)]) END, \
                $5, COALESCE($8::jsonb, '[]'), clock_timestamp() FROM mode, known \
         ON CONFLICT (replica) DO UPDATE SET count = EXCLUDED.count, silent_after_ms = EXCLUDED.silent_after_ms, \
             seqs = EXCLUDED.seqs, counts = EXCLUDED.counts, proxies = COALESCE($8::jsonb, proxy_reports.proxies), \
             reported_at = EXCLUDED.reported_at",
    );
    let silent_after = i64::try_from(report.silent_after.as_millis()).unwrap_or(i64::MAX);
    let statement = statement.bind(replica).bind(report.count).bind(silent_after).bind(seqs).bind(counts);
    let statement = statement.bind(report.as_of.seq).bind(report.as_of.id).bind(proxies);
    conn.execute(statement).await.map(drop)
}

/// Takes away a report whose counter has not moved since it was read.
///
/// # Errors
/// [`Error::DatabaseUnavailable`].
pub async fn forget(conn: &mut Conn, report: &ListedProxies) -> Result<(), Error> {
    let statement = query("DELETE FROM proxy_reports WHERE replica = $1 AND count = $2");
    conn.execute(statement.bind(report.replica.id).bind(report.replica.count)).await.map(drop)
}

/// Reads all proxies that are reported, for people.
///
/// # Errors
/// [`Error::DatabaseUnavailable`]; [`Error::Internal`] for a report that cannot be read.
pub async fn all(conn: &mut Conn) -> Result<Vec<ReportedProxy>, Error> {
    let statement = query_as::<_, (Uuid, String, i64, i64)>(
        "SELECT p.replica, p.proxies::text, (extract(epoch FROM clock_timestamp() - p.reported_at) * 1000)::bigint, h.seq \
         FROM proxy_reports p, revocation_head h ORDER BY p.replica",
    );
    let mut all = Vec::new();
    for (replica, proxies, age, head) in conn.fetch_all(statement).await? {
        let proxies: Vec<Stored> = serde_json::from_str(&proxies).map_err(Error::internal)?;
        let age = Duration::from_millis(u64::try_from(age).unwrap_or(0));
        all.extend(proxies.into_iter().map(|proxy| ReportedProxy {
            replica,
            age,
            behind: proxy.reached.map(|reached| (head - reached).max(0)),
            proxy: proxy.into(),
        }));
    }
    Ok(all)
}

/// A report in the reading of the list of replicas.
#[derive(Deserialize)]
pub(super) struct Reported {
    replica: String,
    count: i64,
    silent_after_ms: u64,
    seqs: Vec<i64>,
    counts: Vec<u64>,
}

impl TryFrom<Reported> for ListedProxies {
    type Error = Error;

    fn try_from(it: Reported) -> Result<Self, Error> {
        let id = it.replica.parse().map_err(Error::internal)?;
        let silent_after = Duration::from_millis(it.silent_after_ms);
        let replica = Listed { id, applied_seq: 0, count: it.count, max_staleness: silent_after };
        let groups = it.seqs.into_iter().zip(it.counts).map(|(seq, count)| ProxyGroup { seq, count });
        Ok(Self { replica, groups: groups.collect() })
    }
}

impl From<&ToldProxy> for Stored {
    fn from(it: &ToldProxy) -> Self {
        Self {
            name: it.name.clone(),
            has_list: it.has_list,
            caller: it.caller.clone(),
            connected_at: it.connected_at.unix_timestamp(),
            reached: it.reached,
            lag_ms: u64::try_from(it.lag.as_millis()).unwrap_or(u64::MAX),
            refusal: it.refusal.clone(),
            is_connected: it.is_connected,
        }
    }
}

impl From<Stored> for ToldProxy {
    fn from(it: Stored) -> Self {
        Self {
            name: it.name,
            has_list: it.has_list,
            caller: it.caller,
            connected_at: OffsetDateTime::from_unix_timestamp(it.connected_at).unwrap_or(OffsetDateTime::UNIX_EPOCH),
            reached: it.reached,
            lag: Duration::from_millis(it.lag_ms),
            refusal: it.refusal,
            is_connected: it.is_connected,
        }
    }
}
