-- When the service's clock was moved last, by the database's wall clock: how old a database is that was restored.
ALTER TABLE service_clock ADD COLUMN moved_at timestamptz NOT NULL DEFAULT now();

-- Sessions that were opened before. One row.
CREATE TABLE session_floor (
    one boolean PRIMARY KEY CHECK (one),
    -- They have ended, and no row of theirs says so.
    ended_before timestamptz NOT NULL,
    -- After a restore: perhaps they have. They are not refreshed until an operator decides.
    undecided_before timestamptz NOT NULL
) WITH (fillfactor = 10);

INSERT INTO session_floor (one, ended_before, undecided_before) VALUES (true, 'epoch', 'epoch');

-- A row of kind opened_before ends all sessions that were opened before a moment, in seconds since 1970.
ALTER TABLE revocations
    DROP CONSTRAINT revocations_kind_check,
    DROP CONSTRAINT revocations_check,
    DROP CONSTRAINT revocations_subject_check,
    ADD CONSTRAINT revocations_kind_check CHECK (kind IN ('session', 'user', 'key', 'opened_before')),
    ADD CONSTRAINT revocations_epoch_check CHECK ((kind IN ('user', 'opened_before')) = (epoch IS NOT NULL)),
    ADD CONSTRAINT revocations_subject_check CHECK ((kind IN ('key', 'opened_before')) = (subject IS NULL));
