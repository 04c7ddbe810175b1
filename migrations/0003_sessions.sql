-- How far the walk through refresh_tokens has come that deletes old sessions, in the order of their ids. One row: whoever has
-- locked it deletes, and nobody waits for it. So no end of a session has to be indexed, and a refresh stays heap-only.
CREATE TABLE session_sweep (
    one boolean PRIMARY KEY CHECK (one),
    after uuid NOT NULL
) WITH (fillfactor = 10);

INSERT INTO session_sweep (one, after) VALUES (true, '00000000-0000-0000-0000-000000000000');
