"""What must never be found in a log, or in a database: every password and token of this job.

Passwords of the job start with one mark, so that a search for the mark finds any of them in any file.
"""

import re
import uuid

MARK = "canary-horse-"
# In a database no token may lie in the clear, not even one that this job has not seen.
STORED_SECRETS = re.compile(rb"canary-horse-|csr_[A-Za-z0-9_-]{40}|eyJ[A-Za-z0-9_-]{20,}\.eyJ")

SECRET_FIELDS = {"password", "old_password", "new_password", "password_hash"}
SECRET_FIELDS |= {"access_token", "access_tokens", "refresh_token"}
# Not secret, but said never to be logged by us. (Postgres names a key that exists already in its own log.)
PRIVATE_FIELDS = {"username", "user_agent", "device"}


def new_password():
    return MARK + uuid.uuid4().hex


class Seen:
    """The secrets and private words that went over the wire."""

    # Shorter words would be found in any log by chance.
    SHORTEST = 12

    def __init__(self):
        self.secrets = set()
        self.private = set()

    def add(self, secret):
        if len(secret) >= self.SHORTEST:
            # A log that shows the end of a token shows too much.
            self.secrets.update({secret, secret[-24:]})

    def add_private(self, word):
        if len(word) >= self.SHORTEST:
            self.private.add(word)

    def add_message(self, message):
        for field, value in message.ListFields():
            values = value if field.is_repeated else [value]
            for item in values:
                if field.message_type is not None:
                    self.add_message(item)
                elif field.name in SECRET_FIELDS:
                    self.add(item)
                elif field.name in PRIVATE_FIELDS:
                    self.add_private(item)

    def secrets_in(self, text):
        return sorted(word for word in self.secrets if word in text)

    def found_in(self, text):
        """Secrets and private words."""
        return self.secrets_in(text) + sorted(word for word in self.private if word in text)
