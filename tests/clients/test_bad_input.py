"""Bad input: each is INVALID_ARGUMENT, names the field, and harms nothing."""

import pytest

from actors import User
from reflected import expect
from secrets_seen import new_password

# Too large for any field, in a message that is not.
HUGE = "x" * (60 * 1024)
CONTROL = ["with\0nul", "with\x07bell", "with\x7fdelete", "with\u0085next-line"]
NO_USERNAMES = ["", "   ", "two words", "x" * 255, HUGE, "a\u200e b", *CONTROL]
NO_PASSWORDS = ["", "x" * 1025, *(f"canary-horse-{text}" for text in CONTROL)]
NO_UUIDS = ["", "garbage", "0192f0c1-2b3c-7d4e-8f50", "0192f0c1-2b3c-7d4e-8f50-123456789abg", "x" * 4096]
NOT_DURATIONS = [{"seconds": -1}, {"nanos": -1}, {"seconds": -315576000000, "nanos": -999999999}]
NOBODY = "0192f0c1-2b3c-7d4e-8f50-123456789abc"


@pytest.fixture(autouse=True)
def still_serves(client):
    """What was refused has not hurt the server."""
    yield
    assert client.is_serving()


def refused(client, field, rpc, /, **fields):
    refusal = client.refused("INVALID_ARGUMENT", rpc, **fields)
    assert refusal.fields == (field,)


@pytest.mark.parametrize("name", NO_USERNAMES, ids=range(len(NO_USERNAMES)))
def test_no_username(client, name):
    refused(client, "username", "Login", username=name, password=new_password())
    refused(client, "username", "CreateUser", username=name, password=new_password())
    refused(client, "username", "GetUser", username=name)


@pytest.mark.parametrize("password", NO_PASSWORDS, ids=range(len(NO_PASSWORDS)))
def test_no_password(client, alice, password):
    refused(client, "password", "Login", username=alice.name, password=password)
    refused(client, "password", "CreateUser", username="nobody-new", password=password)
    refused(client, "password", "SetPassword", user_id=alice.id, password=password)
    change = {"username": alice.name, "old_password": alice.password, "new_password": new_password()}
    for field in ("old_password", "new_password"):
        refused(client, field, "ChangePassword", **change | {field: password})
    assert alice.login().access_token


def test_a_huge_password(client, alice):
    refused(client, "password", "Login", username=alice.name, password=HUGE)
    refused(client, "password", "SetPassword", user_id=alice.id, password=HUGE)


def test_a_new_password_that_is_short(client, alice):
    refused(client, "password", "CreateUser", username="nobody-new", password="fourteen chars")
    refused(client, "password", "SetPassword", user_id=alice.id, password="fourteen chars")
    client.refused("INVALID_CREDENTIALS", "Login", username=alice.name, password="fourteen chars")


@pytest.mark.parametrize("text", NO_UUIDS, ids=range(len(NO_UUIDS)))
def test_no_uuid(client, text):
    for rpc in ("ListSessions", "GetUser", "UpdateUser", "DeleteUser", "Revoke"):
        refused(client, "user_id", rpc, user_id=text)
    refused(client, "user_id", "SetPassword", user_id=text, password=new_password())
    refused(client, "session_id", "Revoke", session_id=text)
    if text:
        refused(client, "keep_session_id", "Revoke", user_id=NOBODY, keep_session_id=text)
        refused(client, "page_token", "ListUsers", page_token=text)
        refused(client, "page_token", "ListSessions", user_id=NOBODY, page_token=text)


def test_a_missing_oneof(client):
    refused(client, "target", "Revoke")
    refused(client, "target", "Revoke", wait={"seconds": 1})
    refused(client, "key", "GetUser")


def test_keep_session_id_without_a_user(client, alice):
    tokens = alice.login()
    refused(client, "keep_session_id", "Revoke", session_id=tokens.session_id, keep_session_id=NOBODY)
    assert client.call("Verify", access_token=tokens.access_token)


@pytest.mark.parametrize("duration", NOT_DURATIONS, ids=str)
def test_a_negative_duration(client, alice, duration):
    tokens = alice.login()
    refused(client, "max_staleness", "Verify", access_token=tokens.access_token, max_staleness=duration)
    refused(client, "max_staleness", "VerifyBatch", access_tokens=[tokens.access_token], max_staleness=duration)
    refused(client, "wait", "Revoke", refresh_token=tokens.refresh_token, wait=duration)
    longest = {"seconds": 315576000000, "nanos": 999999999}
    assert client.call("Verify", access_token=tokens.access_token, max_staleness=longest)


@pytest.mark.parametrize("size", [-1, 1001, 2**31 - 1, -(2**31)])
def test_a_page_of_no_size(client, size):
    refused(client, "page_size", "ListUsers", page_size=size)
    refused(client, "page_size", "ListSessions", user_id=NOBODY, page_size=size)


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_of_no_size(client, count):
    refused(client, "access_tokens", "VerifyBatch", access_tokens=["garbage"] * count)


def test_an_audience_that_is_not_set_up(client, alice):
    login = {"username": alice.name, "password": alice.password}
    for audience in ("elsewhere", "", "x" * 257):
        refused(client, "audience", "Login", **login, audience=["internal", audience])
    refused(client, "audience", "Verify", access_token="garbage", audience="x" * 257)


@pytest.mark.parametrize("roles", [[""], ["two words"], ["x" * 65], ["\u00e9"], [f"role-{n}" for n in range(65)]])
def test_no_roles(client, alice, roles):
    refused(client, "roles", "CreateUser", username="nobody-new", password=new_password(), roles=roles)
    refused(client, "roles", "UpdateUser", user_id=alice.id, roles={"names": roles})


@pytest.mark.parametrize("ip", ["unknown", "192.0.2.7, 192.0.2.8", "line\nbreak", HUGE], ids=range(4))
def test_an_address_that_is_none(client, alice, ip):
    refused(client, "client.ip", "Login", username=alice.name, password=alice.password, client={"ip": ip})
    assert alice.login(client={"ip": "[::ffff:192.0.2.7]:4000"}).access_token


@pytest.mark.parametrize("field", ["user_agent", "device"])
def test_what_a_browser_says_is_cut(client, alice, field):
    # Of no letter that a secret above consists of: the device of a client may be logged.
    for text in ("c" * 513, "line\nbreak", "c" * (60 * 1024)):
        assert alice.login(client={field: text}).access_token


@pytest.mark.parametrize("token", ["", "x" * 257, HUGE], ids=len)
def test_a_refresh_token_of_no_length(client, token):
    refused(client, "refresh_token", "Refresh", refresh_token=token)


def test_an_access_token_that_is_huge(client, alice):
    tokens = alice.login()
    client.refused("TOKEN_MALFORMED", "Verify", access_token=HUGE)
    refused(client, "access_token", "Refresh", refresh_token=tokens.refresh_token, access_token=HUGE)
    assert client.call("Revoke", access_token=HUGE).sessions_revoked == 0
    assert client.call("Refresh", refresh_token=tokens.refresh_token).replayed is False


NO_MESSAGES = {
    "strings that are not UTF-8": b"\x0a\x02\xff\xfe\x12\x02\xc3\x28",
    "cut short": b"\x0a\x7fx",
    "of another wire type": b"\x08\x01\x10\x01",
    "a length that overflows": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
}


@pytest.mark.parametrize("data", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_bytes_that_are_no_message(client, data):
    for rpc in ("Login", "Verify", "VerifyBatch", "Refresh", "Revoke", "ListSessions", "CreateUser", "ChangePassword"):
        assert client.refused_bytes("INVALID_ARGUMENT", rpc, data).fields == ("request",)


@pytest.mark.parametrize("rpc", ["Login", "Verify", "VerifyBatch", "Refresh", "Revoke", "CreateUser"])
def test_a_message_above_the_limit(client, rpc):
    """Two fields of 1 MiB: more than the largest limit, and than what HTTP/2 takes in one window."""
    part = b"\x0a\x80\x80\x40" + b"x" * 2**20
    assert client.refused_bytes("INVALID_ARGUMENT", rpc, part + part).fields == ("request",)


def test_a_call_without_a_message(client):
    """A unary call as a broken client makes it: the stream ends before there is a message."""
    for rpc in ("Login", "Verify", "Revoke", "GetUser"):
        path = f"/{client.method(rpc).containing_service.full_name}/{rpc}"
        error = client.channel.stream_unary(path).future(iter([]), timeout=20).exception()
        assert expect("INVALID_ARGUMENT", error).fields == ("request",)


def test_bad_input_leaves_no_user_behind(client):
    client.refused("USER_NOT_FOUND", "GetUser", username="nobody-new")
    assert User(client, "somebody").login().access_token
