"""Two replicas on one database: what one does, the other knows."""

import time

import pytest

from conftest import BOUND
from processes import wait_until
from reflected import expect


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

    here.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    there.refused("REFRESH_TOKEN_INVALID", "Refresh", refresh_token=tokens.refresh_token)
    refused = lambda: there.start("Verify", access_token=tokens.access_token).exception()
    expect("TOKEN_REVOKED", wait_until("the other replica refuses", refused, 30))
    assert time.time() < revoked.everywhere_by.ToNanoseconds() / 1e9


def test_disabling_a_user_reaches_the_other_replica(client, replica, alice):
    tokens = alice.login(at=replica.client)
    client.call("UpdateUser", user_id=alice.id, disabled=True)
    refused = lambda: replica.client.start("Verify", access_token=tokens.access_token).exception()
    expect("TOKEN_REVOKED", wait_until("the replica refuses", refused, BOUND))
    replica.client.refused("INVALID_CREDENTIALS", "Login", username=alice.name, password=alice.password)


def test_the_state_of_an_idle_replica_stays_fresh(replica, alice):
    tokens = alice.login(at=replica.client)
    as_of = lambda: replica.client.call("Verify", access_token=tokens.access_token).revocations_as_of.ToNanoseconds()
    first = as_of()
    wait_until("a beat", lambda: as_of() > first, BOUND)
