-- Ids and times come from the application. No sequence, trigger, enum type or extension, so that a Postgres-compatible
-- distributed engine can take over.

CREATE TABLE users (
    id uuid PRIMARY KEY,
    -- Normalised (domain/user.rs).
    username text NOT NULL CONSTRAINT users_username_key UNIQUE,
    -- A PHC string.
    password_hash text NOT NULL,
    roles text[] NOT NULL,
    -- Tokens with a lower epoch are dead.
    epoch bigint NOT NULL,
    disabled_at timestamptz,
    password_changed_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- One row per session; a refresh updates it in place. No indexed column ever changes and pages keep room, so that each
-- update stays on its page (heap-only).
CREATE TABLE refresh_tokens (
    session_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    -- The user's epoch when the session was opened. Raising users.epoch ends all sessions without touching their rows.
    epoch bigint NOT NULL,
    -- The generation that has not been exchanged yet, and the one that was exchanged for it (0: none).
    generation bigint NOT NULL CHECK (generation BETWEEN 1 AND 4294967295),
    previous_generation bigint NOT NULL CHECK (previous_generation BETWEEN 0 AND 4294967295),
    rotated_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    idle_expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_reason text,
    client_id text NOT NULL,
    audience text[] NOT NULL,
    client_ip text NOT NULL,
    client_user_agent text NOT NULL,
    client_device text NOT NULL,
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) WITH (fillfactor = 80);

CREATE INDEX refresh_tokens_user_id_session_id ON refresh_tokens (user_id, session_id);

-- What verifiers have to know, in the order of commits: 1, 2, 3 and so on, without gaps.
CREATE TABLE revocations (
    seq bigint PRIMARY KEY,
    -- Random; tells a row from another that took its number in a database that lost commits.
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('session', 'user')),
    -- The session or the user.
    subject uuid NOT NULL,
    -- With kind user: tokens of a lower epoch are dead.
    epoch bigint CHECK ((kind = 'user') = (epoch IS NOT NULL)),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz NOT NULL,
    reason text NOT NULL
);

-- One row. Its lock makes the order of commits the order of numbers.
CREATE TABLE revocation_head (
    one boolean PRIMARY KEY CHECK (one),
    seq bigint NOT NULL
) WITH (fillfactor = 10);

INSERT INTO revocation_head (one, seq) VALUES (true, 0);

-- The running servers, as far as they have read the log.
CREATE TABLE replicas (
    id uuid PRIMARY KEY,
    applied_seq bigint NOT NULL,
    -- Rises with each statement of the replica's follower.
    beats bigint NOT NULL,
    -- The replica refuses to verify when it has heard nothing for longer than this.
    max_staleness_ms bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE keys (
    purpose text NOT NULL CHECK (purpose IN ('access_token', 'refresh_token')),
    number integer NOT NULL CHECK (number BETWEEN 1 AND 65535),
    kid text NOT NULL,
    algorithm text NOT NULL,
    public_key bytea NOT NULL,
    -- The private part, sealed under the master key (crypto/seal.rs).
    sealed_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (purpose, number),
    CONSTRAINT keys_kid_key UNIQUE (purpose, kid)
);
