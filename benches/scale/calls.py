"""The calls that are measured: how many a round makes, and of what messages."""

import itertools
import os
import random
import time
import uuid

import wire
from wire import field

# Calls of one round.
COUNTS = {
    "Login": 60,
    "Refresh": 3000,
    "Refresh, again": 3000,
    "Verify, cold": 3000,
    "Verify, warm": 6000,
    "VerifyBatch of 100": 300,
    "Revoke": 1500,
    "Revoke by id": 1500,
    "ListSessions": 600,
    "GetUser": 4000,
    "ListUsers": 600,
    "UpdateUser": 400,
    "ImportUsers of 100": 10,
    "CreateUser": 30,
    "SetPassword": 12,
    "DeleteUser": 12,
}
HASHES = ["Login", "CreateUser", "SetPassword"]
UNCOUNTED = 1


def sessions_needed(rounds, counts):
    """Each is refreshed, or revoked, once; some are kept for the clean-up."""
    return (rounds + UNCOUNTED) * sum(counts[name] for name in ["Refresh", "Revoke", "Revoke by id"])


class Round:
    """The calls of a round at one place, in the order of COUNTS: some use what those before gave."""

    def __init__(self, place, counts, client):
        self.place, self.counts, self.client = place, counts, client
        self.refreshed = place.take(counts["Refresh"])
        self.tokens = []

    def messages(self, name):
        """Method and messages of a call."""
        place, count = self.place, self.counts[name]
        staying = lambda: random.choices(place.staying, k=count)
        fresh = lambda: f"fresh-{uuid.uuid4()}"
        match name:
            case "Login":
                return "AuthService/Login", [field(1, user) + field(2, place.password) for _, user in staying()]
            case "Refresh" | "Refresh, again":
                generation = 1 if name == "Refresh" else 2
                return "AuthService/Refresh", [field(1, place.refresh_token(id, generation)) for id in self.refreshed]
            case "Verify, cold":
                return "AuthService/Verify", [field(1, token) for token in self.tokens]
            case "Verify, warm":
                return "AuthService/Verify", [field(1, token) for token in itertools.islice(itertools.cycle(self.tokens), count)]
            case "VerifyBatch of 100":
                batch = lambda: b"".join(field(1, token) for token in random.choices(self.tokens, k=100))
                return "AuthService/VerifyBatch", [batch() for _ in range(count)]
            case "Revoke":
                return "AuthService/Revoke", [field(1, place.refresh_token(id, 1)) for id in place.take(count)]
            case "Revoke by id":
                return "AuthService/Revoke", [field(3, id) for id in place.take(count)]
            case "ListSessions":
                return "AuthService/ListSessions", [field(1, id) + field(2, 100) for id, _ in staying()]
            case "GetUser":
                return "UserService/GetUser", [field(2, user) for _, user in staying()]
            case "ListUsers":
                return "UserService/ListUsers", [field(1, 100) + field(2, id) for id, _ in staying()]
            case "UpdateUser":
                return "UserService/UpdateUser", [field(1, id) + field(2, field(1, fresh())) for id, _ in staying()]
            case "ImportUsers of 100":
                user = lambda: field(2, field(1, fresh()) + field(2, place.hash))
                return "UserService/ImportUsers", [b"".join(user() for _ in range(100)) for _ in range(count)]
            case "CreateUser":
                return "UserService/CreateUser", [field(1, fresh()) + field(2, os.urandom(16).hex()) for _ in range(count)]
            case "SetPassword":
                doomed = [place.doomed.pop() for _ in range(count)]
                return "UserService/SetPassword", [field(1, id) + field(2, os.urandom(16).hex()) for id, _ in doomed]
            case "DeleteUser":
                return "UserService/DeleteUser", [field(1, place.doomed.pop()[0]) for _ in range(count)]

    def measure(self, name):
        """Makes the calls: CPU microseconds of the server and of the database for each, bytes of
        write-ahead log, and pages that Postgres had to map."""
        method, messages = self.messages(name)
        bearer = self.place.admin_token
        server, postgres = self.place.server, self.place.postgres
        begun, wal, before = time.monotonic(), postgres.wal(), (server.cpu(), *postgres.used())
        answers = self.client.all(method, messages, bearer)
        after, wal_after, seconds = (server.cpu(), *postgres.used()), postgres.wal(), time.monotonic() - begun
        if name == "Refresh, again":
            # TokenPair is field 1, and its access token is field 1.
            self.tokens = [wire.first_field(wire.first_field(answer)).decode() for answer in answers]
        each = lambda was, now: (now - was) / len(messages)
        cpu_server, cpu_database, faults = map(each, before, after)
        return {
            "server": cpu_server * 1e6,
            "database": cpu_database * 1e6,
            "faults": faults,
            "wal": each(wal, wal_after),
            "calls_per_second": len(messages) / seconds,
        }
