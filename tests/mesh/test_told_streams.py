"""What becomes of a proxy whose word from Countersign breaks off, hangs or is slow: what is revoked is refused in time."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from processes import wait_until
from proxies import port_of
from relay import Relay
from told import BOUND, SETTINGS, TTL, Asking, passes, refused, status


@pytest.fixture
def relay(source):
    relay = Relay(port_of(source.facts["grpc_addr"]))
    yield relay
    relay.end()


@pytest.fixture
def serve(job, dev):
    """Starts replicas that live until the test ends, at an address if it is given."""
    started = []

    def serve(name, addr=None, *settings):
        started.append(job.serve(name, dev, *SETTINGS, *settings, *(["--grpc-addr", addr] if addr else [])))
        return started[-1]

    yield serve
    assert [wrong for server in started for wrong in server.end()] == []


def asked_on(proxy, dead):
    """Asks for as long as the bound, and is refused each time."""
    begun = time.monotonic()
    while time.monotonic() - begun < BOUND:
        assert status(proxy, dead) == 401


def test_a_stream_that_is_cut_is_opened_again_and_nothing_is_missed(start_told, relay, alice, client):
    proxy = start_told(relay.addr)
    alive, *dead = [alice.login() for _ in range(6)]
    for tokens in (alive, *dead):
        passes(proxy, tokens)
    with Asking(proxy, alive) as asking:
        for tokens in dead:
            with relay.cut():
                client.call("Revoke", session_id=tokens.session_id)
                assert status(proxy, tokens) == 200, "it cannot know"
            took = refused(proxy, tokens)
            print(f"refused {took:.2f} s after the wire was whole again")
            passes(proxy, alive)
        assert {status(proxy, tokens) for tokens in dead} == {401}
    print(f"{asking.of(alive).count(401)} of {len(asking.of(alive))} live requests were refused")


def test_a_silent_wire_is_not_believed_for_longer_than_the_bound(start_told, relay, alice, client):
    proxy = start_told(relay.addr)
    alive, dead = alice.login(), alice.login()
    passes(proxy, dead)
    with relay.silent():
        client.call("Revoke", session_id=dead.session_id)
        print(f"refused {refused(proxy, dead):.2f} s after Revoke was answered, the bound is {BOUND} s")
        refused(proxy, alive)
        assert status(proxy, None, "/public") == 200
    passes(proxy, alive)
    assert status(proxy, dead) == 401


def test_a_silent_wire_is_left_for_another_replica(start_told, relay, serve, alice, client):
    other = serve("beside-a-silent-wire")
    proxy = start_told(relay.addr, other.facts["grpc_addr"])
    alive, dead, later = alice.login(), alice.login(), alice.login()
    passes(proxy, later)
    with relay.silent():
        client.call("Revoke", session_id=dead.session_id)
        refused(proxy, dead)
        passes(proxy, alive)
        with Asking(proxy, alive, dead) as asking:
            client.call("Revoke", session_id=later.session_id)
            refused(proxy, later)
        assert set(asking.of(alive)) == {200} and set(asking.of(dead)) == {401}
    assert (status(proxy, alive), status(proxy, dead), status(proxy, later)) == (200, 401, 401)


@pytest.mark.parametrize("delay", [0.3, 0.8, 5])
def test_a_slow_wire_leads_to_no_wrong_answer(start_told, relay, alice, client, delay):
    """Up to a second the stream is kept, and nobody is refused for it. Beyond it is as good as silent."""
    proxy = start_told(relay.addr)
    alive, dead = alice.login(), alice.login()
    passes(proxy, dead)
    relay.delay = delay
    with Asking(proxy, alive, dead) as asking:
        client.call("Revoke", session_id=dead.session_id)
        print(f"refused {refused(proxy, dead):.2f} s after Revoke was answered, with {delay} s of delay")
        begun = time.monotonic()
        while time.monotonic() - begun < TTL:
            assert status(proxy, dead) == 401
    print(f"{asking.of(alive).count(401)} of {len(asking.of(alive))} live requests were refused")
    assert not asking.came_back(dead)
    relay.delay = 0
    passes(proxy, alive)
    assert status(proxy, dead) == 401


def test_a_killed_replica_is_left_for_another_and_without_one_nobody_passes(start_told, serve, alice, client):
    one, other = (serve(name) for name in ("to-be-killed", "to-be-killed-too"))
    proxy = start_told(one.facts["grpc_addr"], other.facts["grpc_addr"])
    alive, dead, later = alice.login(), alice.login(), alice.login()
    passes(proxy, later)
    client.call("Revoke", session_id=dead.session_id)
    refused(proxy, dead)
    with Asking(proxy, dead) as asking:
        one.kill()
        client.call("Revoke", session_id=later.session_id)
        refused(proxy, later)
        passes(proxy, alive)
        other.kill()
        print(f"refused {refused(proxy, alive):.2f} s after the last replica was killed")
        assert status(proxy, None, "/public") == 200
        serve("in-its-place", one.facts["grpc_addr"])
        passes(proxy, alive)
        assert status(proxy, later) == 401
    assert set(asking.of(dead)) == {401}


def test_a_proxy_that_fails_open_lets_tokens_pass_while_nobody_tells_it(start_told, serve, alice, client):
    """Also those that were revoked: their lists have expired. Once it hears again, they are refused."""
    server = serve("away-for-a-while")
    proxy = start_told(server.facts["grpc_addr"], settings=["--fail", "open"])
    alive, dead = alice.login(), alice.login()
    passes(proxy, alive)
    client.call("Revoke", session_id=dead.session_id)
    refused(proxy, dead)
    with Asking(proxy, alive) as asking:
        server.kill()
        passes(proxy, dead, TTL + 2)
        serve("back-again", server.facts["grpc_addr"])
        refused(proxy, dead)
    assert set(asking.of(alive)) == {200}


def test_a_proxy_that_fails_open_refuses_again_once_it_is_told(start_told, serve, alice, client):
    server = serve("away-for-long")
    proxy = start_told(server.facts["grpc_addr"], settings=["--fail", "open"])
    alive, dead, later = alice.login(), alice.login(), alice.login()
    passes(proxy, later)
    client.call("Revoke", session_id=dead.session_id)
    refused(proxy, dead)
    server.kill()
    wait_until("the lists have expired", lambda: status(proxy, dead) == 200 or status(proxy, alive) == 401, BOUND)
    assert status(proxy, None, "/public") == 200 and status(proxy, None) == 401
    client.call("Revoke", session_id=later.session_id)
    serve("back-after-long", server.facts["grpc_addr"])
    wait_until("it is told", lambda: status(proxy, alive) == 200 and status(proxy, dead) == 401, 30)
    assert status(proxy, later) == 401


def restart(servers, proxy, serve, settings, ended):
    """Each replica anew, as an orchestrator does, and not before some sessions have ended without it."""
    for server in servers:
        assert server.end() == []
        wanted = len(ended) + 20
        wait_until("some sessions end meanwhile", lambda wanted=wanted: len(ended) > wanted, 30)
        serve(f"{server.name}-anew", server.facts["grpc_addr"], *settings)
        wait_until("both are well", lambda: proxy.stat("cluster.countersign.membership_healthy") == 2, 30)


@pytest.mark.parametrize("lame_duck", ["0s", "2s"])
def test_a_rolling_restart_leads_to_no_wrong_answer(start_told, serve, alice, client, lame_duck):
    """With a live token, one that was revoked before, and others that are revoked all the time."""
    settings = ["--lame-duck", lame_duck]
    servers = [serve(name, None, *settings) for name in ("first", "second")]
    proxy = start_told(*(server.facts["grpc_addr"] for server in servers))
    alive, dead = alice.login(), alice.login()
    passes(proxy, alive)
    client.call("Revoke", session_id=dead.session_id)
    refused(proxy, dead)
    wait_until("both are well", lambda: proxy.stat("cluster.countersign.membership_healthy") == 2, 30)
    ended, took = [], []
    with Asking(proxy, alive) as live, Asking(proxy, dead) as revoked, ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(restart, servers, proxy, serve, settings, ended)
        while not restarted.done():
            tokens = alice.login()
            assert status(proxy, tokens) == 200
            client.call("Revoke", session_id=tokens.session_id, wait={"nanos": 1})
            took.append(refused(proxy, tokens))
            ended.append(tokens)
            assert {status(proxy, tokens) for tokens in ended[-10:]} == {401}
        restarted.result()
        assert {status(proxy, tokens) for tokens in ended} == {401}
    print(f"{len(ended)} revocations, the slowest was refused after {max(took):.2f} s")
    print(f"{live.of(alive).count(401)} of {len(live.of(alive))} live requests were refused")
    assert set(live.of(alive)) == {200} and set(revoked.of(dead)) == {401}


@pytest.fixture
def blind(job, dev):
    """A replica with a wire of its own to the database."""
    url = dev.facts["database_url"]
    place = Path(parse_qs(urlsplit(url).query)["host"][0])
    own = Path(mkdtemp(prefix="wire-", dir=job.dir))
    relay = Relay(place / ".s.PGSQL.5432", own / ".s.PGSQL.5432")
    facts = dev.facts | {"database_url": url.replace(quote(str(place)), str(own)).replace(str(place), str(own))}
    server = job.serve("blind", SimpleNamespace(facts=facts), *SETTINGS)
    yield server, relay
    assert server.end() == []
    relay.end()


def test_a_replica_that_alone_is_cut_from_the_database_is_not_believed(start_told, blind, alice, client):
    """Others go on, and it is long until it says that it is not well (COUNTERSIGN_MAX_STALENESS)."""
    server, database = blind
    proxy = start_told(server.facts["grpc_addr"])
    dead = alice.login()
    passes(proxy, dead)
    with database.silent():
        client.call("Revoke", session_id=dead.session_id)
        print(f"refused {refused(proxy, dead):.2f} s after Revoke was answered")
        asked_on(proxy, dead)


def test_nor_is_it_believed_by_a_proxy_that_comes_anew(start_told, blind, alice, client):
    server, database = blind
    wire = Relay(port_of(server.facts["grpc_addr"]))
    proxy = start_told(wire.addr)
    dead = alice.login()
    passes(proxy, dead)
    with database.silent():
        client.call("Revoke", session_id=dead.session_id)
        refused(proxy, dead)
        asked_on(proxy, dead)
        with wire.cut():
            pass
        asked_on(proxy, dead)
    wire.end()
