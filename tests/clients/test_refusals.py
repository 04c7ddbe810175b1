"""Each reason that a caller can provoke without breaking anything."""

import base64
import json

import pytest

from actors import User
from processes import wait_until
from reflected import expect, read
from secrets_seen import new_password

NOBODY = "0192f0c1-2b3c-7d4e-8f50-123456789abc"


def test_unknown_user_wrong_password_and_disabled_user_look_alike(client, alice):
    gone = User(client, "gone")
    client.call("UpdateUser", user_id=gone.id, disabled=True)
    errors = [
        client.start("Login", username=name, password=password).exception()
        for name, password in [
            (alice.name, new_password()),
            ("nobody-of-this-name", new_password()),
            (gone.name, gone.password),
            (gone.name, new_password()),
        ]
    ]
    refusals = {(expect("INVALID_CREDENTIALS", error), error.details()) for error in errors}
    assert len(refusals) == 1
    sizes = {sum(len(key) + len(value) for key, value in error.trailing_metadata()) for error in errors}
    assert len(sizes) == 1


@pytest.mark.parametrize("token", ["", "garbage", "a.b.c", "e30.e30.e30", "....", "x" * 9000, "\u00e9.\u00e9.\u00e9"])
def test_what_is_no_access_token_is_malformed(client, token):
    client.refused("TOKEN_MALFORMED", "Verify", access_token=token)


def test_a_refresh_token_is_no_access_token_nor_the_other_way_round(client, alice):
    tokens = alice.login()
    client.refused("TOKEN_MALFORMED", "Verify", access_token=tokens.refresh_token)
    client.refused("INVALID_ARGUMENT", "Refresh", refresh_token=tokens.access_token)


def test_a_token_of_another_issuer_is_malformed(job, dev, client, alice):
    """The key is the same; only `iss` differs."""
    issuer = job.serve("issuer", dev, "--issuer", "https://elsewhere.example")
    theirs = alice.login(at=issuer.client)
    client.refused("TOKEN_MALFORMED", "Verify", access_token=theirs.access_token)
    issuer.client.refused("TOKEN_MALFORMED", "Verify", access_token=alice.login().access_token)


def test_a_token_of_another_key_has_no_valid_signature(client, stranger):
    foreign = User(stranger.client, "mallory").login()
    client.refused("TOKEN_SIGNATURE_INVALID", "Verify", access_token=foreign.access_token)
    client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=foreign.refresh_token)


def test_an_altered_token_has_no_valid_signature(client, alice):
    tokens = alice.login()
    header, claims, signature = tokens.access_token.split(".")
    altered = json.loads(decode(claims)) | {"roles": ["root"]}
    flipped = ("B" if signature[0] == "A" else "A") + signature[1:]
    for forged in (f"{header}.{encode(altered)}.{signature}", f"{header}.{claims}.{flipped}"):
        client.refused("TOKEN_SIGNATURE_INVALID", "Verify", access_token=forged)
        # With a Refresh it is not overlooked either.
        refresh = {"refresh_token": tokens.refresh_token, "access_token": forged}
        client.refused("TOKEN_SIGNATURE_INVALID", "Refresh", **refresh)
    assert client.call("Refresh", refresh_token=tokens.refresh_token).replayed is False


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES256"])
def test_the_header_does_not_choose_the_algorithm(client, alice, alg):
    header, claims, signature = alice.login().access_token.split(".")
    forged = encode(json.loads(decode(header)) | {"alg": alg})
    client.refused("TOKEN_SIGNATURE_INVALID", "Verify", access_token=f"{forged}.{claims}.{signature}")


@pytest.mark.parametrize("member", ["crit", "jku", "jwk", "x5u"])
def test_a_header_that_brings_its_own_key_is_malformed(client, alice, member):
    header, claims, signature = alice.login().access_token.split(".")
    forged = encode(json.loads(decode(header)) | {member: ["exp"]})
    client.refused("TOKEN_MALFORMED", "Verify", access_token=f"{forged}.{claims}.{signature}")


def decode(segment):
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def encode(claims):
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def test_a_token_for_one_audience_is_not_for_another(client, alice):
    narrow = alice.login(audience=["internal"])
    assert client.call("Verify", access_token=narrow.access_token, audience="internal")
    assert client.call("Verify", access_token=narrow.access_token)
    for audience in ("billing", "Internal", "no-such-audience"):
        client.refused("TOKEN_AUDIENCE_MISMATCH", "Verify", access_token=narrow.access_token, audience=audience)


def test_an_expired_token_is_refused_and_can_be_refreshed(hasty, alice):
    client = hasty.client
    tokens = alice.login(at=client)
    assert client.call("Verify", access_token=tokens.access_token).principal.user_id == alice.id

    refused = lambda: client.start("Verify", access_token=tokens.access_token).exception()
    expect("TOKEN_EXPIRED", wait_until("the token's end", refused, 20))

    answer = client.call("Refresh", refresh_token=tokens.refresh_token, access_token=tokens.access_token)
    assert client.call("Verify", access_token=answer.tokens.access_token).principal.user_id == alice.id
    assert client.call("Revoke", access_token=tokens.access_token).sessions_revoked == 1


@pytest.mark.parametrize("token", ["garbage", "csr_", "csr_AAAA", "csr_" + "A" * 80, "x" * 256, "csr_\u00e9"])
def test_garbage_is_no_refresh_token(client, token):
    client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=token)


def test_an_altered_refresh_token_is_refused_and_harms_nobody(client, alice):
    tokens = alice.login()
    token = tokens.refresh_token
    for at in range(4, len(token), 7):
        altered = token[:at] + ("B" if token[at] == "A" else "A") + token[at + 1 :]
        client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=altered)
    assert client.call("Refresh", refresh_token=token).tokens.session_id == tokens.session_id


def test_an_access_token_of_another_session_does_not_help_a_refresh(client, alice):
    mine, other = alice.login(), alice.login()
    refresh = {"refresh_token": mine.refresh_token, "access_token": other.access_token}
    client.refused("REFRESH_TOKEN_INVALID", "Refresh", **refresh)
    client.refused("TOKEN_MALFORMED", "Refresh", refresh_token=mine.refresh_token, access_token="garbage")
    assert client.call("Refresh", refresh_token=mine.refresh_token, access_token=mine.access_token)


ADMINISTRATION = {
    "ListSessions": {"user_id": NOBODY},
    "Revoke": {"session_id": NOBODY},
    "CreateUser": {"username": "newcomer-of-the-job", "password": new_password()},
    "GetUser": {"username": "demo"},
    "ListUsers": {},
    "UpdateUser": {"user_id": NOBODY},
    "DeleteUser": {"user_id": NOBODY},
    "SetPassword": {"user_id": NOBODY, "password": new_password()},
    "ChangePassword": {"username": "demo", "old_password": new_password(), "new_password": new_password()},
}


@pytest.mark.parametrize("rpc", ADMINISTRATION)
def test_administration_needs_the_token(replica, hasty, admin_token, rpc):
    fields = ADMINISTRATION[rpc]
    wrong = [
        replica.client,
        replica.client_with(admin_token[:-1]),
        replica.client_with(admin_token + "x"),
        hasty.client,
        # No token is the right one where none is set up.
        hasty.client_with(admin_token),
    ]
    for client in wrong:
        client.refused("CALLER_NOT_ALLOWED", rpc, **fields)
    allowed = replica.client_with(admin_token).start(rpc, **fields).exception()
    assert allowed is None or read(allowed).reason in {"USER_NOT_FOUND", "INVALID_CREDENTIALS"}


def test_revoke_by_user_needs_the_token_and_by_token_does_not(replica, admin_token, alice):
    tokens, other = alice.login(at=replica.client), alice.login(at=replica.client)
    replica.client.refused("CALLER_NOT_ALLOWED", "Revoke", user_id=alice.id)
    assert replica.client.call("Revoke", refresh_token=tokens.refresh_token).sessions_revoked == 1
    assert replica.client_with(admin_token).call("Revoke", user_id=alice.id).sessions_revoked == 1
    replica.client.refused("TOKEN_REVOKED", "Verify", access_token=other.access_token)


def test_a_login_storm_is_shed_with_a_time_to_come_back(hasty, alice):
    def storm():
        # Logins of one user wait for each other instead.
        names = [f"{alice.name}-{n}" for n in range(64)]
        calls = [hasty.client.start("Login", username=name, password=alice.password) for name in names]
        refusals = [read(call.exception()) for call in calls]
        assert {refusal.reason for refusal in refusals} <= {"OVERLOADED", "INVALID_CREDENTIALS"}
        return [refusal for refusal in refusals if refusal.reason == "OVERLOADED"]

    shed = wait_until("a full queue", storm, 30)

    assert all(0 < refusal.retry_after < 60 for refusal in shed)
    assert alice.login(at=hasty.client).access_token


def test_guesses_are_throttled_and_a_device_that_is_known_is_not(client, alice):
    login = {"username": alice.name, "password": alice.password}
    hint = client.call("Login", **login).device_hint

    def refusals():
        guess = client.start("Login", username=alice.name, password="wrong").exception()
        return [refusal] if (refusal := read(guess)).reason == "LOGIN_THROTTLED" else []

    [throttled] = wait_until("a throttled guess", refusals, 60)
    assert (throttled.code, throttled.retry_after >= 1) == ("RESOURCE_EXHAUSTED", True)
    assert client.call("Login", device_hint=hint, **login).tokens.access_token


@pytest.mark.parametrize("timeout", ["1m", "1u", "1n"])
def test_a_deadline_that_passes_is_answered_as_such(client, alice, timeout):
    """The header by hand, without a timer of the client's own, which would hide the server's answer."""
    deadline = {"timeout": None, "metadata": [("grpc-timeout", timeout)]}
    login = {"username": alice.name, "password": alice.password}
    client.refused("DEADLINE_EXCEEDED", "Login", **deadline, **login)
    assert alice.login().access_token


def test_a_client_whose_deadline_passes_can_try_again(client, alice):
    login = {"username": alice.name, "password": alice.password}
    assert client.start("Login", timeout=0.001, **login).exception().code().name == "DEADLINE_EXCEEDED"
    assert client.call("Login", **login).tokens.access_token
