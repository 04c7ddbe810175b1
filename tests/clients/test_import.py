"""ImportUsers: users of another system, with the password hashes that it made."""

import uuid

PASSWORD = "correct horse battery staple"
BCRYPT = "$2b$04$abcdefghijklmnopqrstuu7EJV7kdjBBQxyb0HjTh9KS7.Lah/6CG"

INVALID, DUPLICATE, EXISTS = 1, 2, 3


def row(name, **fields):
    return {"username": name, "password_hash": BCRYPT, "roles": ["reader"]} | fields


def test_a_stream_of_users_is_imported_row_by_row(client, alice):
    bob, carol = (f"{name}-{uuid.uuid4().hex[:12]}" for name in ("bob", "carol"))
    first = [row(bob), row("two words", password_hash="$1$in$no-form-that-is-read")]
    second = [row(bob.upper()), row(alice.name), row(carol, disabled=True)]

    answer = client.stream("ImportUsers", {"users": first}, {"users": second})

    assert (answer.imported, answer.skipped, answer.refused) == (2, 2, 1)
    assert [(row.row, row.reason) for row in answer.rows] == [(2, INVALID), (3, DUPLICATE), (4, EXISTS)]
    wrong = answer.rows[0].violations
    assert [violation.field for violation in wrong] == ["username", "password_hash"]
    assert all(violation.description for violation in wrong)

    tokens = client.call("Login", username=bob, password=PASSWORD).tokens
    principal = client.call("Verify", access_token=tokens.access_token).principal
    assert list(principal.roles) == ["reader"]
    client.refused("INVALID_CREDENTIALS", "Login", username=bob, password=PASSWORD + ".")
    client.refused("INVALID_CREDENTIALS", "Login", username=carol, password=PASSWORD)
    assert alice.login().access_token

    again = client.stream("ImportUsers", {"users": first}, {"users": second})
    assert (again.imported, again.skipped, again.refused) == (0, 4, 1)


def test_a_dry_run_writes_nothing(client):
    name = f"dave-{uuid.uuid4().hex[:12]}"
    answer = client.stream("ImportUsers", {"dry_run": True, "users": [row(name)]})
    assert (answer.imported, len(answer.rows)) == (1, 0)
    client.refused("USER_NOT_FOUND", "GetUser", username=name)
