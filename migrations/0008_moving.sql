-- Tells rows of a log from those of another that took the same numbers, for as long as the log is empty of its newest row too.
ALTER TABLE revocation_head ADD COLUMN id uuid;

UPDATE revocation_head h SET id = (SELECT r.id FROM revocations r WHERE r.seq = h.seq);

-- The name of this log, and the history of commits (cluster and timeline) that it was given to: a promoted standby and a restored
-- backup have another. One row.
CREATE TABLE log_identity (
    one boolean PRIMARY KEY CHECK (one),
    system_identifier bigint NOT NULL,
    timeline bigint NOT NULL,
    -- The oid of this table: another in what was dumped and restored, be it into the same cluster.
    relation bigint NOT NULL,
    -- Random: two standbys may be promoted to one timeline.
    id uuid NOT NULL,
    -- Whether confirmations count: nobody can be fresh from a log before.
    settled boolean NOT NULL
);

INSERT INTO log_identity (one, system_identifier, timeline, relation, id, settled)
SELECT true, system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint,
    'log_identity'::regclass::oid::bigint,
    md5(random()::text || random()::text || clock_timestamp()::text)::uuid, true
FROM pg_control_system();

-- Written by whoever answers what it has read, so that the answer waits for a commit. Some rows, so that few wait for each other.
CREATE TABLE proofs (
    slot integer PRIMARY KEY,
    count bigint NOT NULL
) WITH (fillfactor = 10);
