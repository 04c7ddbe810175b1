"""Two replicas on one database: what one does, the other knows."""

import os
import signal
import time

import pytest

from conftest import BOUND
from processes import wait_until
from reflected import read


@pytest.fixture(params=["dev to replica", "replica to dev"])
def pair(request, dev, replica):
    ways = {"dev to replica": (dev, replica), "replica to dev": (replica, dev)}
    return [server.client for server in ways[request.param]]


def test_a_session_of_one_replica_is_good_on_the_other(pair, alice):
    here, there = pair
    tokens = alice.login(at=here)
    assert there.call("Verify", access_token=tokens.access_token).principal.user_id == alice.id

    refreshed = there.call("Refresh", refresh_token=tokens.refresh_token)
    repeated = here.call("Refresh", refresh_token=tokens.refresh_token)

    assert (refreshed.replayed, repeated.replayed) == (False, True)
    assert repeated.tokens.refresh_token == refreshed.tokens.refresh_token
    assert here.call("Verify", access_token=refreshed.tokens.access_token).principal.user_id == alice.id


def test_a_revocation_on_one_replica_reaches_the_other(pair, alice):
    here, there = pair
    tokens = alice.login(at=here)
    assert there.call("Verify", access_token=tokens.access_token)

    revoked = here.call("Revoke", refresh_token=tokens.refresh_token)

    assert revoked.confirmed and time.time() < revoked.everywhere_by.ToNanoseconds() / 1e9
    for client in pair:
        client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
        client.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=tokens.refresh_token)


def test_disabling_a_user_reaches_the_other_replica(client, replica, alice):
    tokens = alice.login(at=replica.client)
    assert client.call("UpdateUser", user_id=alice.id, disabled=True).confirmed
    replica.client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    replica.client.refused("INVALID_CREDENTIALS", "Login", username=alice.name, password=alice.password)


def test_the_state_of_an_idle_replica_stays_fresh(replica, alice):
    tokens = alice.login(at=replica.client)
    as_of = lambda: replica.client.call("Verify", access_token=tokens.access_token).revocations_as_of.ToNanoseconds()
    first = as_of()
    wait_until("a beat", lambda: as_of() > first, BOUND)


@pytest.fixture
def sleeper(job, dev):
    """A replica that stops answering, and refuses by itself after two seconds."""
    return job.serve("sleeper", dev, "--audience", "internal,billing", "--max-staleness", "2s")


def test_a_frozen_replica_accepts_nothing_that_was_confirmed_meanwhile(client, sleeper, alice):
    tokens = alice.login(at=sleeper.client)
    os.kill(sleeper.process.pid, signal.SIGSTOP)
    try:
        early = client.call("Revoke", session_id=alice.login().session_id, wait={"nanos": 100_000_000})
        assert not early.confirmed
        revoked = client.call("Revoke", session_id=tokens.session_id, wait={"seconds": 15})
        assert revoked.confirmed
        # They wait at its port, and are the first things that it does.
        waiting = [sleeper.client.start("Verify", access_token=tokens.access_token) for _ in range(50)]
    finally:
        os.kill(sleeper.process.pid, signal.SIGCONT)
    for call in waiting:
        assert read(call.exception()).reason in ("REVOCATIONS_STALE", "TOKEN_REVOKED")
    refused = lambda: read(sleeper.client.start("Verify", access_token=tokens.access_token).exception()).reason
    wait_until("it is back", lambda: refused() == "TOKEN_REVOKED", 10)


def test_a_killed_replica_is_waited_for_until_its_bound_and_not_longer(client, sleeper, alice):
    token = alice.login(at=sleeper.client)
    sleeper.kill()
    assert client.call("Revoke", session_id=token.session_id, wait={"seconds": 15}).confirmed
    # From now on it is known to be silent, and the second that is the default is enough.
    assert client.call("Revoke", session_id=alice.login().session_id).confirmed
