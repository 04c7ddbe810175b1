-- Who was refused, and an index for refusals of the new kind too. Servers before this version use it as the former one.
ALTER TABLE audit_events ADD COLUMN caller text NOT NULL DEFAULT '';

DROP INDEX audit_events_refusals;
CREATE INDEX audit_events_refusals ON audit_events (id)
    WHERE kind IN ('login_failed', 'password_change_failed', 'administration_refused', 'caller_refused');
