-- Wrong passwords, counted before they are looked at. One row for each budget: an account's, a known device's, or a source's.
CREATE TABLE login_throttle (
    -- A digest: what was typed as a name may be a password.
    budget bytea PRIMARY KEY,
    -- Attempts since the last right password.
    attempts integer NOT NULL,
    -- No attempt before.
    blocked_until timestamptz NOT NULL,
    began_at timestamptz NOT NULL,
    attempted_at timestamptz NOT NULL
) WITH (fillfactor = 80);

CREATE INDEX login_throttle_attempted_at ON login_throttle (attempted_at);
