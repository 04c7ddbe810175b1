-- Tells rows of a log from those of another that took the same numbers, for as long as the log is empty of its newest row too.
ALTER TABLE revocation_head ADD COLUMN id uuid;

UPDATE revocation_head h SET id = (SELECT r.id FROM revocations r WHERE r.seq = h.seq);

-- The history of commits (cluster and timeline) on which confirmations count: this one, until a standby is promoted or a
-- backup restored. One row.
CREATE TABLE log_identity (
    one boolean PRIMARY KEY CHECK (one),
    system_identifier bigint NOT NULL,
    timeline bigint NOT NULL
);

INSERT INTO log_identity (one, system_identifier, timeline)
SELECT true, system_identifier, ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint
FROM pg_control_system();

-- Written by whoever answers what it has read, so that the answer waits for a commit. Some rows, so that few wait for each other.
CREATE TABLE proofs (
    slot integer PRIMARY KEY,
    count bigint NOT NULL
) WITH (fillfactor = 10);
