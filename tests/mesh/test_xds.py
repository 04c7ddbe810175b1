"""Envoy verifies tokens by itself, and Countersign tells it what has ended: no call for a request."""

import base64
import json
import os
import signal
import time

import pytest

from actors import User
from asked import ask, bearer, cookies
from processes import wait_until
from told import TTL, passes, refused, status


@pytest.fixture
def stranger_of(job):
    server = job.dev("of-others", "--proxy-ttl", f"{TTL}s")
    return server, User(server.client, "carol", roles=["reader"])


def test_tokens_are_verified_and_sessions_refused_that_have_ended(told, source, alice, client):
    one, other = alice.login(), alice.login()
    passes(told, one)
    answer = ask(told.port, "/orders", bearer(one.access_token) + [("x-auth-user-id", "spoofed")])
    assert (answer.seen("x-auth-user-id"), answer.seen("x-auth-session-id")) == ([alice.id], [one.session_id])
    assert answer.seen("x-auth-scope") == ["reader"]
    assert ask(told.port, "/public", [("x-auth-user-id", "spoofed")]).seen("x-auth-user-id") == []
    forged = bearer(one.access_token[:-4] + "AAAA")
    assert status(told, None) == 401 and ask(told.port, "/orders", forged).status == 401
    client.call("Revoke", session_id=one.session_id)
    took = refused(told, one)
    print(f"refused {took * 1000:.1f} ms after Revoke was answered")
    answer = ask(told.port, "/orders", bearer(one.access_token))
    assert "TOKEN_REVOKED" in answer.get("www-authenticate"), answer
    assert status(told, other) == 200


def test_of_two_tokens_the_one_that_was_looked_at_counts_alone(told, alice, boss, client):
    """One in the header and one in the cookie: whoever has a live token of his own must not pass as somebody else."""
    live, dead = boss.login(), alice.login()
    passes(told, live)
    client.call("Revoke", session_id=dead.session_id)
    refused(told, dead)

    def asked(header, cookie):
        return ask(told.port, "/orders", bearer(header) + cookies(access=cookie))

    answer = asked(live.access_token, dead.access_token)
    assert (answer.seen("x-auth-user-id"), answer.seen("x-auth-session-id")) == ([boss.id], [live.session_id])
    assert asked(dead.access_token, live.access_token).status == 401
    answer = asked("forged", live.access_token)
    assert answer.status == 401 or answer.seen("x-auth-user-id") == [boss.id]
    assert ask(told.port, "/orders", cookies(access=dead.access_token)).status == 401
    assert ask(told.port, "/orders", cookies(access=live.access_token)).seen("x-auth-user-id") == [boss.id]


def test_nothing_open_leads_elsewhere(told, alice):
    """The application might read these as paths that are not open (tests/mesh/test_guards.py has them for the files of deploy/)."""
    wait_until("it is open", lambda: status(told, None, "/public/x") == 200, 30)
    for path in ["/public/%2e%2e;/admin", "/public/..%3b/admin", "/public/..%253badmin", "/public/;x", "/public/..%5cadmin"]:
        assert not ask(told.port, path).from_app, path
    answer = ask(told.port, "/public/x", [("x.auth.user.id", "spoofed"), ("x!auth-user-id", "spoofed")])
    assert "spoofed" not in answer.body.decode(), answer


def test_all_sessions_of_a_user_end_and_new_ones_pass(told, alice, client):
    before = [alice.login() for _ in range(3)]
    passes(told, before[0])
    for again in range(6):
        client.call("Revoke", user_id=alice.id)
        for tokens in before:
            refused(told, tokens)
        after = alice.login()
        assert status(told, after) == 200, f"after {again + 1} times"
        before = [after]
    kept = alice.login()
    client.call("Revoke", user_id=alice.id, keep_session_id=kept.session_id)
    refused(told, before[0])
    assert status(told, kept) == 200


def test_a_user_who_is_disabled_is_refused_and_passes_once_enabled_again(told, alice, client):
    tokens = alice.login()
    passes(told, tokens)
    client.call("UpdateUser", user_id=alice.id, disabled=True)
    refused(told, tokens)
    client.call("UpdateUser", user_id=alice.id, disabled=False)
    tokens = alice.login()
    passes(told, tokens)


def test_a_proxy_that_hears_nothing_refuses_and_goes_on_when_it_hears_again(told, source, alice):
    tokens = alice.login()
    passes(told, tokens)
    os.kill(source.process.pid, signal.SIGSTOP)
    try:
        took = refused(told, tokens, 4 * TTL)
        assert took < 2 * TTL + 1, took
        assert ask(told.port, "/public").status == 200
    finally:
        os.kill(source.process.pid, signal.SIGCONT)
    passes(told, tokens)


def test_a_replica_that_is_cut_from_the_database_confirms_nothing(told, source, dev, alice):
    tokens = alice.login()
    passes(told, tokens)
    with dev.frozen_database():
        took = refused(told, tokens, 5 * TTL)
        assert took < 3 * TTL, took
    passes(told, tokens)


def test_a_killed_key_dies_at_the_proxy(job, start_told, stranger_of):
    server, user = stranger_of
    proxy = start_told(server.facts["grpc_addr"])
    tokens = user.login()
    passes(proxy, tokens)
    facts = server.facts
    database = ["--database-url", facts["database_url"], "--master-key-file", facts["master_key_file"]]
    header = tokens.access_token.partition(".")[0]
    kid = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
    killed = job.command("keys", "kill", kid, *database)
    assert killed.returncode == 0, killed.stderr
    took = refused(proxy, tokens)
    print(f"its token was refused {took * 1000:.0f} ms after the kill")
    passes(proxy, user.login())


def test_the_time_from_revoke_to_the_refusal(told, alice, client):
    """Revoked at another replica than the one that tells the proxy."""
    sessions = [alice.login() for _ in range(50)]
    passes(told, sessions[-1])
    times = []
    for tokens in sessions:
        assert status(told, tokens) == 200
        client.call("Revoke", session_id=tokens.session_id)
        times.append(refused(told, tokens) * 1000)
    times.sort()
    print(f"p50 {times[25]:.1f} ms, longest of 50 {times[-1]:.1f} ms from the answer of Revoke to the refusal")
    assert times[25] < 100, times


def test_a_proxy_may_say_how_long_it_goes_on_without_countersign(job, start_told, dev, alice, client):
    """Two proxies of one server: the lists of one live for two seconds, those of the other for ever."""
    server = job.serve("told-by-mortal", dev, "--audience", "internal,billing", "--proxy-ttl", "60s")
    kinds = ["--ttl", "2"], ["--fail", "stale"]
    short, stale = (start_told(server.facts["grpc_addr"], settings=kind) for kind in kinds)
    alive, dead = alice.login(), alice.login()
    passes(short, alive)
    passes(stale, alive)
    client.call("Revoke", session_id=dead.session_id)
    refused(short, dead)
    refused(stale, dead)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        assert refused(short, alive, 10) < 2 + 2 + 1
        begun = time.monotonic()
        while time.monotonic() - begun < 3:
            assert (status(stale, alive), status(stale, dead)) == (200, 401)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    passes(short, alive)


def test_revoke_and_status_say_what_proxies_have_confirmed(job, start_told):
    """A deployment of its own: a replica that another test has killed would be waited for until it is silent for long."""
    dev = server = job.dev("told-and-counted", "--proxies-confirm")
    other = job.serve("told-by-another", dev)
    alice = User(server.client, "alice", roles=["reader"])
    proxies = [start_told(other.facts["grpc_addr"], settings=["--node", name]) for name in ("edge-a", "edge-b")]
    for proxy in proxies:
        passes(proxy, alice.login())
    lines = wait_until("both are shown", lambda: shown(job, dev, "edge-a", "edge-b"), 30)
    assert all(line["state"] == "current" for line in lines), lines
    for _ in range(5):
        tokens = alice.login()
        answer = server.client.call("Revoke", access_token=tokens.access_token, wait={"seconds": 20})
        assert answer.confirmed and answer.proxies_connected >= 2, answer
        assert answer.proxies_confirmed == answer.proxies_connected
        # An Envoy confirms what its main thread has; its workers have it a moment later.
        for proxy in proxies:
            assert refused(proxy, tokens) < 1
    os.kill(proxies[0].process.pid, signal.SIGSTOP)
    try:
        answer = server.client.call("Revoke", access_token=alice.login().access_token, wait={"nanos": 200_000_000})
        assert not answer.confirmed and answer.proxies_confirmed < answer.proxies_connected, answer
        wait_until("it lags", lambda: [it for it in shown(job, dev, "edge-a") if it["state"] == "behind"], 30)
    finally:
        os.kill(proxies[0].process.pid, signal.SIGCONT)


def shown(job, dev, *names):
    """The lines of `mesh status` about proxies of these names, once there are all."""
    printed = job.command("mesh", "status", "--json", "--database-url", dev.facts["database_url"])
    assert printed.returncode == 0, printed.stderr
    lines = [json.loads(line) for line in printed.stdout.splitlines()]
    lines = [line for line in lines if line["proxy"] in names]
    return lines if {line["proxy"] for line in lines} == set(names) else []
