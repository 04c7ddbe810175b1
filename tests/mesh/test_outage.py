"""Countersign is frozen, slow, away: every proxy says 503, lets nobody in, and tells nobody that he is logged out."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asked import allowed, ask, bearer, cookies
from conftest import KINDS
from processes import wait_until
from proxies import Envoy, port_of
from relay import Relay

ALL = KINDS | {"envoy": Envoy}
# Of an answer while Countersign says nothing.
ANSWERS_WITHIN = 10


@pytest.fixture
def fragile(job, dev):
    """A server to be stopped. The token alone decides: proxies name requests to it in different ways."""
    return job.serve("fragile", dev, "--audience", "internal,billing", "--forward-auth", "token")


def refuses(proxies, token):
    """Checks that each says 503, in time, with a token and without."""

    def refused(name, headers):
        begun = time.monotonic()
        answer = ask(proxies[name].port, "/orders", headers)
        assert answer.status == 503 and not answer.from_app, (name, headers, answer)
        assert answer.all("set-cookie") == [] and answer.get("www-authenticate") is None, (name, answer)
        assert time.monotonic() - begun < ANSWERS_WITHIN, (name, headers)
        # Nothing is asked there.
        allowed(ask(proxies[name].port, "/public/x"))

    with ThreadPoolExecutor(20) as threads:
        asked = [(name, headers) for name in proxies for headers in (bearer(token), cookies(access=token), [])]
        for result in [threads.submit(refused, *question) for question in asked]:
            result.result()


def lets_in(proxies, token):
    for name, proxy in proxies.items():
        wait_until(f"{name} lets in", lambda: ask(proxy.port, "/orders", bearer(token)).status == 200, 30)


def is_stopped(pid):
    """Whether all its threads have stopped: a signal takes a moment to reach them."""
    states = [file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def test_countersign_is_frozen_and_then_away(fragile, start, token):
    proxies = {name: start(kind, fragile) for name, kind in ALL.items()}
    lets_in(proxies, token)
    fragile.process.send_signal(signal.SIGSTOP)
    wait_until("it stands still", lambda: is_stopped(fragile.process.pid), 10)
    try:
        refuses(proxies, token)
    finally:
        fragile.process.send_signal(signal.SIGCONT)
    lets_in(proxies, token)
    assert fragile.end() == []
    refuses(proxies, token)


def test_countersign_is_slow(by_name, start, token):
    server = by_name("token")
    relays = {name: Relay(port_of(server.facts[name])) for name in ("grpc_addr", "http_addr")}
    facts = type("Slow", (), {"facts": {name: f"127.0.0.1:{relay.port}" for name, relay in relays.items()}})
    try:
        proxies = {name: start(kind, facts) for name, kind in ALL.items()}
        lets_in(proxies, token)
        for relay in relays.values():
            relay.delay = 0.1
        lets_in(proxies, token)
        for relay in relays.values():
            relay.delay = 30
        refuses(proxies, token)
    finally:
        for relay in relays.values():
            relay.end()


def test_what_is_too_old_lets_nobody_in_and_logs_nobody_out(job, dev, start, token):
    """A server that hears of no revocations for longer than its bound cannot say yes, and does not say no."""
    server = job.serve(
        "stale", dev, "--audience", "internal,billing", "--forward-auth", "token", "--max-staleness", "2s"
    )
    proxies = {name: start(kind, server) for name, kind in ALL.items()}
    lets_in(proxies, token)
    with dev.frozen_database():
        statuses = until_refused(proxies, token)
    assert all(set(seen) <= {200, 503} for seen in statuses.values()), statuses
    lets_in(proxies, token)


def until_refused(proxies, token):
    """Asks all of them until none lets in; what each has said."""
    statuses = {name: [] for name in proxies}

    def all_are_refused():
        for name, proxy in proxies.items():
            statuses[name].append(ask(proxy.port, "/orders", bearer(token)).status)
        return all(seen[-1] == 503 for seen in statuses.values())

    wait_until("nobody is let in", all_are_refused, 60)
    return statuses


def test_a_stopping_server_says_so_and_refuses_nobody(job, dev, start, token):
    """As an orchestrator stops it: for a while it goes on answering, and then nobody is there. No 401 in between."""
    server = job.serve(
        "stopping", dev, "--audience", "internal,billing", "--forward-auth", "token", "--lame-duck", "1s"
    )
    proxies = {name: start(kind, server) for name, kind in ALL.items()}
    lets_in(proxies, token)
    server.process.send_signal(signal.SIGTERM)
    statuses = until_refused(proxies, token)
    server.ended = server.process.wait(30) == 0
    assert server.ended
    for name, seen in statuses.items():
        assert set(seen) <= {200, 503}, (name, seen)
