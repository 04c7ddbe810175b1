-- What an operator may have to prove later (domain/audit.rs). Rows are written with what they tell of, never changed, and
-- deleted when they are old. Ids are in the order of time, so the primary key finds the oldest and the newest.
CREATE TABLE audit_events (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    actor text NOT NULL,
    -- Whom it is about, perhaps deleted by now. NULL for names that do not exist: what was typed may be a password.
    user_id uuid,
    username text,
    session_id uuid,
    reason text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    client_ip text NOT NULL DEFAULT '',
    client_user_agent text NOT NULL DEFAULT '',
    client_device text NOT NULL DEFAULT '',
    -- Of how many things that are the same, or of how many sessions or users, it tells.
    count bigint NOT NULL DEFAULT 1
);

CREATE INDEX audit_events_username_id ON audit_events (username, id) WHERE username IS NOT NULL;
