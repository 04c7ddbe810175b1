"""UserService: the life of a user."""

import uuid

from actors import User
from secrets_seen import new_password


def test_a_user_is_created_found_and_listed(client):
    before = {user.user_id for user in all_users(client)}
    alice = User(client, "Alice", roles=["writer", "reader", "reader"])

    by_id = client.call("GetUser", user_id=alice.id).user
    by_name = client.call("GetUser", username=alice.name.upper()).user

    assert by_id == by_name
    assert (by_id.username, by_id.disabled) == (alice.name.lower(), False)
    assert list(by_id.roles) == ["reader", "writer"]
    assert by_id.created_at == by_id.password_changed_at
    listed = all_users(client)
    assert {user.user_id for user in listed} - before == {alice.id}
    assert listed[-1].user_id == alice.id


def all_users(client):
    found, token = [], ""
    while True:
        page = client.call("ListUsers", page_size=2, page_token=token)
        found += page.users
        token = page.next_page_token
        if not token:
            return found


def test_a_username_is_taken_in_every_case_and_unicode_form(client):
    name = f"zo\u00eb-{uuid.uuid4().hex[:12]}"
    client.call("CreateUser", username=name, password=new_password())
    decomposed, upper = name.replace("\u00eb", "e\u0308"), name.upper()
    for taken in (name, upper, decomposed, decomposed.upper(), name.replace("z", "\uff5a")):
        client.refused("USERNAME_TAKEN", "CreateUser", username=taken, password=new_password())


def test_new_roles_are_seen_after_refresh(client, alice):
    tokens = alice.login()
    answer = client.call("UpdateUser", user_id=alice.id, roles={"names": ["admin:billing"]})
    assert list(answer.user.roles) == ["admin:billing"] and answer.sessions_revoked == 0

    before = client.call("Verify", access_token=tokens.access_token).principal
    tokens = client.call("Refresh", refresh_token=tokens.refresh_token).tokens
    after = client.call("Verify", access_token=tokens.access_token).principal

    assert (list(before.roles), list(after.roles)) == (["reader"], ["admin:billing"])
    unchanged = client.call("UpdateUser", user_id=alice.id).user
    assert list(unchanged.roles) == ["admin:billing"]
    assert list(client.call("UpdateUser", user_id=alice.id, roles={}).user.roles) == []


def test_a_disabled_user_is_out_until_enabled(client, alice):
    tokens = alice.login()
    answer = client.call("UpdateUser", user_id=alice.id, disabled=True)
    assert answer.user.disabled and answer.sessions_revoked == 1

    client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=tokens.refresh_token)
    client.refused("INVALID_CREDENTIALS", "Login", username=alice.name, password=alice.password)

    assert not client.call("UpdateUser", user_id=alice.id, disabled=False).user.disabled
    client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    assert client.call("Verify", access_token=alice.login().access_token).principal.user_id == alice.id


def test_a_deleted_user_is_gone(client, alice):
    tokens = alice.login()
    assert client.call("DeleteUser", user_id=alice.id).sessions_revoked == 1

    client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=tokens.refresh_token)
    client.refused("INVALID_CREDENTIALS", "Login", username=alice.name, password=alice.password)
    for key in ({"user_id": alice.id}, {"username": alice.name}):
        client.refused("USER_NOT_FOUND", "GetUser", **key)
    client.refused("USER_NOT_FOUND", "DeleteUser", user_id=alice.id)
    client.refused("USER_NOT_FOUND", "UpdateUser", user_id=alice.id, disabled=True)
    client.refused("USER_NOT_FOUND", "SetPassword", user_id=alice.id, password=new_password())


def test_a_set_password_ends_all_sessions(client, alice):
    tokens, new = alice.login(), new_password()
    assert client.call("SetPassword", user_id=alice.id, password=new).sessions_revoked == 1
    client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    client.refused("INVALID_CREDENTIALS", "Login", username=alice.name, password=alice.password)
    assert client.call("Login", username=alice.name, password=new).tokens.access_token


def test_a_changed_password_keeps_the_named_session(client, alice):
    kept, other, new = alice.login(), alice.login(), new_password()
    change = {"username": alice.name, "new_password": new}
    client.refused("INVALID_CREDENTIALS", "ChangePassword", **change, old_password=new_password())

    answer = client.call(
        "ChangePassword", **change, old_password=alice.password, keep_session_id=kept.session_id
    )

    assert answer.sessions_revoked == 1
    assert client.call("Verify", access_token=kept.access_token).principal.session_id == kept.session_id
    assert client.call("Refresh", refresh_token=kept.refresh_token).tokens.session_id == kept.session_id
    client.refused("TOKEN_REVOKED", "Verify", access_token=other.access_token)
    client.refused("INVALID_CREDENTIALS", "ChangePassword", **change, old_password=alice.password)
    assert client.call("Login", username=alice.name, password=new).tokens.access_token


def test_a_password_of_any_characters_works_in_every_unicode_form(client, alice):
    client.call("SetPassword", user_id=alice.id, password=new_password() + " \u00e9 \U0001f40e")
    typed = client.call("SetPassword", user_id=alice.id, password="canary-horse-caf\u00e9 \U0001f40e")
    assert typed.sessions_revoked == 0
    tokens = client.call("Login", username=alice.name, password="canary-horse-cafe\u0301 \U0001f40e").tokens
    assert tokens.session_id in alice.session_ids()
