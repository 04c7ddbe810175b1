-- The proxies that each replica tells what has ended, as it has reported last. Servers before this version report none.
CREATE TABLE proxy_reports (
    replica uuid PRIMARY KEY,
    -- Moved by each report. When it has stood still for so long, no proxy of this replica accepts tokens any more.
    count bigint NOT NULL,
    silent_after_ms bigint NOT NULL,
    -- The row of the log that each proxy has confirmed, 0 for none, and the number of proxies with this row.
    seqs bigint[] NOT NULL,
    counts bigint[] NOT NULL,
    -- Each proxy, for people.
    proxies jsonb NOT NULL,
    reported_at timestamptz NOT NULL
);
