"""Calls and sessions from tasks."""

import asyncio
import threading
import time

import grpc
import pytest

from conftest import url
from test_client import Counted, old

from countersign import Countersign, Refused, Session, Unauthenticated, Unavailable, Verifier
from countersign._proto import auth_pb2 as pb


def test_the_calls_of_the_contract(alice, client):
    async def story():
        answer = await client.alogin(username=alice.name, password=alice.password, client=pb.ClientInfo(device="a laptop"))
        tokens = answer.tokens
        assert (await client.averify(access_token=tokens.access_token)).principal.user_id == alice.id
        results = (await client.averify_batch(access_tokens=[tokens.access_token, "no.token"])).results
        assert [result.WhichOneof("result") for result in results] == ["principal", "rejection"]
        assert [it.client.device for it in (await client.alist_sessions(user_id=alice.id)).sessions] == ["a laptop"]
        renewed = (await client.arefresh(refresh_token=tokens.refresh_token)).tokens
        assert "keys" in (await client.aget_jwks()).jwks
        assert (await client.arevoke(refresh_token=renewed.refresh_token)).sessions_revoked == 1
        with pytest.raises(Unauthenticated, match="TOKEN_REVOKED"):
            await client.averify(access_token=renewed.access_token)
        with pytest.raises(Refused) as refused:
            await client.arefresh(refresh_token="")
        assert (refused.value.reason, refused.value.code) == ("INVALID_ARGUMENT", grpc.StatusCode.INVALID_ARGUMENT)

    asyncio.run(story())


def test_calls_have_a_deadline_and_go_to_the_next_replica(dev, alice, relay):
    async def story():
        with Countersign([url(relay), url(dev)], deadline=2) as both, Countersign(url(relay), deadline=0.5) as alone:
            for outage in (relay.cut, relay.silent):
                both._preferred = 0
                with outage():
                    tokens = (await both.alogin(username=alice.name, password=alice.password)).tokens
                    assert tokens.access_token and both._preferred == 1
                    began = time.monotonic()
                    with pytest.raises(Unavailable):
                        await alone.aget_jwks()
                    assert time.monotonic() - began < 1

    asyncio.run(story())


def test_many_calls_take_no_threads_and_block_no_loop(alice, relay):
    async def story():
        with Countersign(url(relay), deadline=1) as client:
            await client.aget_jwks()
            relay.delay = 0.3
            before, turns = threading.active_count(), 0
            calls = [asyncio.ensure_future(client.aget_jwks()) for _ in range(50)]
            while not all(call.done() for call in calls):
                turns += 1
                await asyncio.sleep(0.01)
                # That of the channel itself.
                assert threading.active_count() <= before + 3
            relay.delay = 0
            assert turns > 10 and all(call.result().jwks for call in calls)

    asyncio.run(story())


def test_a_call_that_is_cancelled_ends_at_once(relay):
    async def story():
        with Countersign(url(relay), deadline=30) as client, relay.silent():
            call = asyncio.ensure_future(client.aget_jwks())
            await asyncio.sleep(0.1)
            call.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert time.monotonic() - began < 0.5

    asyncio.run(story())


def test_a_loop_that_was_closed_disturbs_nobody(alice, relay, capfd):
    client = Countersign(url(relay), deadline=30)

    async def left():
        asyncio.ensure_future(client.aget_jwks())
        await asyncio.sleep(0.1)

    with relay.silent():
        asyncio.run(left())
    assert client.get_jwks().jwks and asyncio.run(client.aget_jwks()).jwks
    client.close()
    for closed in (client.get_jwks, lambda: asyncio.run(client.aget_jwks())):
        with pytest.raises(Unavailable, match="CLOSED"):
            closed()
    assert "Traceback" not in capfd.readouterr().err


def test_a_waiter_that_is_cancelled_loses_no_tokens(alice, client):
    counted = Counted(client)

    async def story():
        session = await Session.alogin(client, username=alice.name, password=alice.password)
        session._client = counted
        first, counted.slow = await session.aaccess_token(), 0.2
        old(session)
        waiters = [asyncio.ensure_future(session.aaccess_token()) for _ in range(10)]
        await asyncio.sleep(0.05)
        # The one that began it among them.
        for waiter in waiters[:5]:
            waiter.cancel()
        found = await asyncio.gather(*waiters, return_exceptions=True)
        assert all(isinstance(it, asyncio.CancelledError) for it in found[:5])
        assert len(set(found[5:])) == 1 and found[5] != first and len(counted.asked) == 1
        # And all of them.
        old(session)
        alone = asyncio.ensure_future(session.aaccess_token())
        await asyncio.sleep(0.05)
        alone.cancel()
        await asyncio.sleep(0.4)
        assert session.tokens.access_token not in (first, found[5]) and len(counted.asked) == 2
        session._client = client
        await session.alogout()
        with pytest.raises(Unauthenticated, match="TOKEN_REVOKED"):
            await client.averify(access_token=session.tokens.access_token)

    asyncio.run(story())


def test_a_lost_answer_costs_no_session(alice, client):
    counted = Counted(client)

    async def story():
        session = Session(counted, alice.login())
        first = await session.aaccess_token()
        counted.loses = 1
        old(session)
        assert await session.aaccess_token() == first
        old(session)
        second = await session.aaccess_token()
        assert second != first and len(set(counted.asked)) == 1
        counted.loses = 1
        old(session)
        session._tokens.expires_at = 0
        with pytest.raises(Unavailable):
            await session.aaccess_token()
        assert (await client.averify(access_token=await session.aaccess_token())).principal.user_id == alice.id

    asyncio.run(story())


def test_a_loop_that_ends_in_an_exchange_loses_no_session(alice, client):
    counted = Counted(client)
    session = Session(counted, alice.login())
    old(session)
    counted.slow = 5

    async def left():
        asyncio.ensure_future(session.aaccess_token())
        await asyncio.sleep(0.05)

    asyncio.run(left())
    counted.slow = 0
    token = asyncio.run(session.aaccess_token())
    assert client.verify(access_token=token).principal.user_id == alice.id and len(set(counted.asked)) == 1


def test_threads_and_loops_that_exchange_at_once_go_on_with_one_pair(alice, client):
    session = Session(client, alice.login())
    for _ in range(5):
        old(session)
        works = [session.access_token, session.access_token] + [lambda: asyncio.run(session.aaccess_token())] * 3
        found = []
        threads = [threading.Thread(target=lambda work=work: found.append(work())) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 5
        for token in found:
            assert client.verify(access_token=token).principal.user_id == alice.id


def test_asking_about_tokens_takes_no_threads(relay, alice):
    async def story():
        with Verifier(url(relay), fallback="ask", max_staleness=0) as asking:
            token = alice.login().access_token
            assert (await asking.averify(token)).user_id == alice.id
            before = threading.active_count()
            with relay.silent():
                asked = [asyncio.ensure_future(asking.averify(token)) for _ in range(50)]
                await asyncio.sleep(0.5)
                assert threading.active_count() <= before + 3
                began = time.monotonic()
                found = await asyncio.gather(*asked, return_exceptions=True)
                assert time.monotonic() - began < 2
                assert all(isinstance(it, Unavailable) for it in found)

    asyncio.run(story())
