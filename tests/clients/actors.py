"""Users as the stories know them: somebody with a name and a password who logs in."""

import uuid

from secrets_seen import new_password


class User:
    """A user that an administrator has just created at `client`."""

    def __init__(self, client, name, roles=()):
        self.client = client
        self.name = f"{name}-{uuid.uuid4().hex[:12]}"
        self.password = new_password()
        created = client.call("CreateUser", username=self.name, password=self.password, roles=list(roles))
        self.id = created.user.user_id

    def login(self, at=None, **fields):
        """The tokens of a new session."""
        client = at or self.client
        return client.call("Login", username=self.name, password=self.password, **fields).tokens

    def session_ids(self):
        return [session.session_id for session in self.client.call("ListSessions", user_id=self.id).sessions]
