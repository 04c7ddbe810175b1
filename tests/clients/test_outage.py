"""A database that hangs, and a server that is killed: nothing is lost, and nobody is logged out."""

import urllib.error
import urllib.request

import pytest

from actors import User
from processes import wait_until
from reflected import expect
from secrets_seen import new_password


@pytest.fixture
def bob(stranger):
    return User(stranger.client, "bob")


def readiness(server):
    try:
        with urllib.request.urlopen(f"http://{server.facts['http_addr']}/readyz", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_an_outage_is_not_a_logout(stranger, bob):
    client, tokens = stranger.client, bob.login()
    verify = lambda: client.start("Verify", access_token=tokens.access_token).exception()
    login = {"username": bob.name, "password": bob.password}
    with stranger.frozen_database():
        # Verify reads memory alone; the database does not answer, and it does not notice.
        assert verify() is None
        calls = [
            client.start("Login", **login),
            client.start("Login", **login | {"password": new_password()}),
            client.start("Refresh", refresh_token=tokens.refresh_token),
            client.start("Revoke", session_id=tokens.session_id),
            client.start("ListUsers"),
        ]
        expect("REVOCATIONS_STALE", wait_until("the bound passes", verify, 10))
        for call in calls:
            expect("DATABASE_UNAVAILABLE", call.exception())
        client.refused("REVOCATIONS_STALE", "VerifyBatch", access_tokens=[tokens.access_token])
        wait_until("health says so", lambda: not client.is_serving(), 10)
        assert not client.is_serving("countersign.v1.AuthService")
        assert readiness(stranger) == 503
        # Whoever may not know the keys calls nothing forged, and signs nothing.
        client.refused("REVOCATIONS_STALE", "Refresh", refresh_token="garbage")
        client.refused("REVOCATIONS_STALE", "Refresh", refresh_token=tokens.refresh_token)
        client.refused("REVOCATIONS_STALE", "Login", **login)
    wait_until("health says so", client.is_serving, 5)
    assert readiness(stranger) == 200
    assert client.call("Login", **login).tokens.access_token


def test_the_same_refresh_token_works_after_an_outage(stranger, bob):
    client, tokens = stranger.client, bob.login()
    with stranger.frozen_database():
        client.refused("DATABASE_UNAVAILABLE", "Refresh", refresh_token=tokens.refresh_token)

    refreshed = client.call("Refresh", refresh_token=tokens.refresh_token).tokens

    for pair in (tokens, refreshed):
        assert client.call("Verify", access_token=pair.access_token).principal.user_id == bob.id
    assert client.call("Refresh", refresh_token=refreshed.refresh_token).replayed is False


def test_a_caller_may_ask_for_fresher_state_than_there_is(stranger, bob):
    token = bob.login().access_token
    demand = {"access_token": token, "max_staleness": {"nanos": 1}}
    stranger.client.refused("REVOCATIONS_STALE", "Verify", **demand)
    assert stranger.client.call("Verify", access_token=token, max_staleness={"seconds": 3600})


def test_a_stop_lets_the_calls_under_way_end(job, dev, alice):
    leaving = job.serve("leaving", dev, "--hash-threads", "1")
    alice.login(at=leaving.client)
    login = {"username": alice.name, "password": alice.password}
    calls = [leaving.client.start("Login", **login) for _ in range(24)]
    wait_until("the first one is answered", lambda: any(call.done() for call in calls), 20)

    assert leaving.end() == []

    for call in calls:
        assert call.exception() is None
        job.seen.add_message(call.result())
    error = leaving.client.start("Login", **login).exception()
    assert error.code().name == "UNAVAILABLE"


def test_a_killed_server_starts_again_with_its_users_sessions_and_keys(job):
    first = job.dev("killed")
    carol = User(first.client, "carol")
    ended, tokens = carol.login(), carol.login()
    first.client.call("Revoke", session_id=ended.session_id)
    first.kill()

    second = job.dev("killed")

    assert second.facts["password"] == first.facts["password"]
    client = second.client
    assert client.call("Verify", access_token=tokens.access_token).principal.user_id == carol.id
    client.refused("TOKEN_REVOKED", "Verify", access_token=ended.access_token)
    assert client.call("Refresh", refresh_token=tokens.refresh_token).tokens.session_id == tokens.session_id
    assert client.call("Login", username=carol.name, password=carol.password).tokens.access_token
