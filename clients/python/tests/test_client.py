"""Calls and sessions."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from conftest import url
from helpers import until_true

from countersign import Countersign, Refused, Session, Unauthenticated, Unavailable
from countersign._proto import auth_pb2 as pb


@pytest.fixture(scope="module")
def hasty(job, dev):
    """A replica whose tokens live ten seconds."""
    return job.serve("hasty", dev, "--access-token-ttl", "10s")


class Counted:
    """A client that counts exchanges, and may lose answers."""

    def __init__(self, client):
        self.client, self.asked, self.loses, self.slow = client, [], 0, 0

    def login(self, **fields):
        return self.client.login(**fields)

    def revoke(self, **fields):
        return self.client.revoke(**fields)

    async def arefresh(self, **fields):
        self.asked.append(fields["refresh_token"])
        await asyncio.sleep(self.slow)
        answer = await self.client.arefresh(**fields)
        if self.loses:
            self.loses -= 1
            raise Unavailable("UNREACHABLE")
        return answer

    def refresh(self, **fields):
        self.asked.append(fields["refresh_token"])
        answer = self.client.refresh(**fields)
        if self.loses:
            self.loses -= 1
            raise Unavailable("UNREACHABLE")
        return answer


def old(session):
    """Makes a session believe that its access token has lived for most of its life."""
    session._tokens.refresh_at = 0


def test_the_calls_of_the_contract(dev, alice, client):
    answer = client.login(username=alice.name, password=alice.password, client=pb.ClientInfo(device="a laptop"))
    tokens = answer.tokens
    assert client.verify(access_token=tokens.access_token).principal.user_id == alice.id
    results = client.verify_batch(access_tokens=[tokens.access_token, "no.token"]).results
    assert [result.WhichOneof("result") for result in results] == ["principal", "rejection"]
    assert [session.client.device for session in client.list_sessions(user_id=alice.id).sessions] == ["a laptop"]
    renewed = client.refresh(refresh_token=tokens.refresh_token).tokens
    assert renewed.session_id == tokens.session_id
    assert "keys" in client.get_jwks().jwks
    assert client.revoke(refresh_token=renewed.refresh_token).sessions_revoked == 1
    with pytest.raises(Unauthenticated, match="TOKEN_REVOKED"):
        client.verify(access_token=renewed.access_token)
    with pytest.raises(Unauthenticated, match="INVALID_CREDENTIALS"):
        client.login(username=alice.name, password="another")
    with pytest.raises(Refused) as refused:
        client.refresh(refresh_token="")
    assert (refused.value.reason, refused.value.code) == ("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT)


def test_the_next_replica_is_called_when_one_is_away(dev, alice, relay):
    with Countersign([url(relay), url(dev)]) as client:
        for outage in (relay.cut, relay.silent):
            client._preferred = 0
            with outage():
                assert client.login(username=alice.name, password=alice.password).tokens.access_token
            assert client._preferred == 1


def test_nothing_to_reach_is_an_outage(relay):
    with Countersign(url(relay), deadline=0.5) as client, relay.silent(), pytest.raises(Unavailable):
        client.get_jwks()


def test_who_is_asked_to_wait_waits(alice, client):
    called = []

    def call(*arguments):
        called.append(arguments)
        raise Throttled()

    client._connections[0].call = call
    with pytest.raises(Unavailable, match="CALLER_THROTTLED"):
        client.get_jwks()
    assert len(called) == 1


class Throttled(grpc.RpcError):
    """What a service says that has been called too often."""

    def code(self):
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def trailing_metadata(self):
        return (("countersign-reason", "CALLER_THROTTLED"),)


def test_one_exchange_is_for_all(alice, client):
    counted = Counted(client)
    session = Session.login(counted, username=alice.name, password=alice.password)
    first = session.access_token()
    assert session.access_token() == first and counted.asked == []
    old(session)
    with ThreadPoolExecutor(20) as threads:
        found = set(threads.map(lambda _: session.access_token(), range(40)))
    assert len(found) == 1 and found != {first} and len(counted.asked) == 1
    old(session)

    async def all_of_them():
        return await asyncio.gather(*(session.aaccess_token() for _ in range(20)))

    assert len(set(asyncio.run(all_of_them()))) == 1 and len(counted.asked) == 2


def test_a_lost_answer_costs_no_session(alice, client):
    counted = Counted(client)
    session = Session.login(counted, username=alice.name, password=alice.password)
    first = session.access_token()
    counted.loses = 2
    for _ in range(2):
        old(session)
        assert session.access_token() == first
    old(session)
    second = session.access_token()
    assert second != first and len(set(counted.asked)) == 1
    assert client.verify(access_token=second).principal.user_id == alice.id
    old(session)
    assert session.access_token() not in (first, second)


def test_an_outage_is_none_until_the_token_expires(alice, relay):
    with Countersign(url(relay), deadline=0.5) as client:
        session = Session.login(client, username=alice.name, password=alice.password)
        first = session.access_token()
        old(session)
        with relay.cut():
            assert session.access_token() == first
            session._tokens.expires_at = 0
            with pytest.raises(Unavailable):
                session.access_token()
        until_true("it is exchanged", lambda: exchanged(session, first), 5)


def test_in_an_outage_not_all_wait_while_the_token_is_good(alice, relay):
    with Countersign(url(relay), deadline=0.5) as client:
        session = Session(client, alice.login())
        first = session.access_token()
        old(session)
        with relay.silent():
            began = time.monotonic()
            assert {session.access_token() for _ in range(10)} == {first}
            assert time.monotonic() - began < 0.9
        until_true("it is exchanged", lambda: exchanged(session, first), 5)


def exchanged(session, first):
    try:
        return session.access_token() != first
    except Unavailable:
        return False


def test_a_session_ends(alice, client):
    session = Session.login(client, username=alice.name, password=alice.password)
    kept = Session(client, session.tokens)
    token = kept.access_token()
    session.logout()
    with pytest.raises(Unauthenticated, match="TOKEN_REVOKED"):
        client.verify(access_token=token)
    old(kept)
    with pytest.raises(Unauthenticated, match="REFRESH_TOKEN_"):
        kept.access_token()
    assert session.tokens.access_token not in repr(session)


def test_a_token_is_exchanged_at_seven_tenths_of_its_life(hasty, alice):
    with Countersign(url(hasty)) as client:
        session = Session.login(client, username=alice.name, password=alice.password)
        first = session.access_token()
        life = session._tokens.expires_at - session._tokens.refresh_at
        # By whole seconds, it may be a second less.
        assert 2.6 < life < 3.1
        took = until_true("it is another", lambda: session.access_token() != first, 9)
        assert 6 < took < 8
