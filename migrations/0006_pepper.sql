-- Peppers of password hashes. A hash names its pepper and cannot be checked without it: there is none that is killed.
ALTER TABLE keys
    DROP CONSTRAINT keys_purpose_check,
    ADD CONSTRAINT keys_purpose_check CHECK (purpose IN ('access_token', 'refresh_token', 'pepper')),
    ADD CONSTRAINT keys_pepper_check CHECK (purpose <> 'pepper' OR stage IN ('active', 'retired'));
