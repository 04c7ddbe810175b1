-- What unknown user names are given decoys by (auth/passwords/decoys.rs), sealed like the keys. It is no key: none that is killed,
-- rotated or deleted may change a decoy. The first server that starts makes it. One row.
CREATE TABLE decoy_secret (
    one boolean PRIMARY KEY CHECK (one),
    sealed bytea NOT NULL
);
