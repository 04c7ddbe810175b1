-- Finding the live sessions of a user reads none of those that were revoked, however many there are. A refresh changes none
-- of these columns and stays heap-only; a revocation does not any more.
CREATE INDEX refresh_tokens_live ON refresh_tokens (user_id, session_id) WHERE revoked_at IS NULL;
