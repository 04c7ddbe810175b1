-- Keys live in stages: next, active, retired, killed (domain/key.rs).

-- What has passed for this service, in milliseconds: counted by replicas that watched it stand still for so long. Ages
-- of keys are read from it, so that no wall clock decides. One row.
CREATE TABLE service_clock (
    one boolean PRIMARY KEY CHECK (one),
    witnessed_ms bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO service_clock (one, witnessed_ms) VALUES (true, 0);

ALTER TABLE keys
    -- What the private part says counts; a copy that nobody checks would only mislead.
    DROP COLUMN public_key,
    ADD COLUMN stage text NOT NULL DEFAULT 'active' CHECK (stage IN ('next', 'active', 'retired', 'killed')),
    -- The service's clock when the key entered its stage.
    ADD COLUMN stage_at_ms bigint NOT NULL DEFAULT 0;

ALTER TABLE keys
    ALTER COLUMN stage DROP DEFAULT,
    ALTER COLUMN stage_at_ms DROP DEFAULT;

CREATE UNIQUE INDEX keys_one_next ON keys (purpose) WHERE stage = 'next';
CREATE UNIQUE INDEX keys_one_active ON keys (purpose) WHERE stage = 'active';

-- A row of kind key says that the keys have changed: whoever reads it reads them again.
ALTER TABLE revocations
    DROP CONSTRAINT revocations_kind_check,
    ALTER COLUMN subject DROP NOT NULL,
    ADD CONSTRAINT revocations_kind_check CHECK (kind IN ('session', 'user', 'key')),
    ADD CONSTRAINT revocations_subject_check CHECK ((kind = 'key') = (subject IS NULL));
