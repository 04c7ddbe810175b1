-- Refusals are kept for a time of their own: strangers bring them about.
CREATE INDEX audit_events_refusals ON audit_events (id)
    WHERE kind IN ('login_failed', 'password_change_failed', 'administration_refused');
