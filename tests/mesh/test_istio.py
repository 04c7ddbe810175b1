"""The objects that `countersign mesh istio-config` prints, applied by a stand-in for Istio to a real Envoy (istiod.py)."""

import os
import signal

import pytest

from actors import User
from asked import ask, bearer
from istiod import Sidecar
from told import TTL, passes, refused, status


@pytest.fixture(scope="module")
def source(job, dev):
    return job.serve("telling-istio", dev, "--audience", "internal,billing", "--proxy-ttl", f"{TTL}s")


@pytest.fixture(scope="module")
def alice(client):
    """One of its own: a list that is made anew only once a minute knows few of the epochs that a user will have."""
    return User(client, "alice", roles=["reader"])


@pytest.fixture(scope="module")
def sidecar(job, app, source):
    proxy = Sidecar(job, app, [source.facts["grpc_addr"]])
    yield proxy
    proxy.end()


def test_sessions_and_users_are_refused_that_have_ended(sidecar, source, alice, client):
    one, other = alice.login(), alice.login()
    passes(sidecar, one)
    answer = ask(sidecar.port, "/orders", bearer(one.access_token) + [("x-auth-user-id", "spoofed")])
    assert answer.seen("x-auth-user-id") == [alice.id]
    forged = bearer(one.access_token[:-4] + "AAAA")
    assert status(sidecar, None) == 401 and ask(sidecar.port, "/orders", forged).status == 401
    client.call("Revoke", session_id=one.session_id)
    print(f"refused {refused(sidecar, one) * 1000:.1f} ms after Revoke was answered")
    answer = ask(sidecar.port, "/orders", bearer(one.access_token))
    assert "TOKEN_REVOKED" in answer.get("www-authenticate"), answer
    assert status(sidecar, other) == 200
    client.call("Revoke", user_id=alice.id)
    refused(sidecar, other)
    assert status(sidecar, alice.login()) == 200
    # Each of the keys, the recent list and the moment has a stream of its own.
    assert source.err.read_text().count("a proxy wants to be told of revocations") == 3


def test_a_refusal_by_a_policy_of_istio_stays_what_it_is(sidecar, alice):
    tokens = alice.login()
    passes(sidecar, tokens)
    answer = ask(sidecar.port, "/forbidden", bearer(tokens.access_token))
    assert answer.status == 403 and answer.get("www-authenticate") is None, answer


def test_a_proxy_that_starts_later_knows_all_that_had_ended(job, app, source, alice, client):
    """Whoever has no base lists gets everything in the recent one."""
    dead, alive = [alice.login() for _ in range(30)], alice.login()
    for tokens in dead:
        client.call("Revoke", session_id=tokens.session_id)
    proxy = Sidecar(job, app, [source.facts["grpc_addr"]])
    try:
        passes(proxy, alive)
        assert {status(proxy, tokens) for tokens in dead} == {401}
    finally:
        proxy.end()


def test_a_proxy_that_hears_nothing_refuses_and_goes_on_when_it_hears_again(sidecar, source, alice):
    tokens = alice.login()
    passes(sidecar, tokens)
    os.kill(source.process.pid, signal.SIGSTOP)
    try:
        took = refused(sidecar, tokens, 4 * TTL)
        assert took < 2 * TTL + 1, took
        answer = ask(sidecar.port, "/orders", bearer(tokens.access_token))
        assert answer.get("www-authenticate"), answer
    finally:
        os.kill(source.process.pid, signal.SIGCONT)
    passes(sidecar, tokens)


def test_other_workloads_and_listeners_are_left_alone(job, app, source):
    for place in ({"labels": {"app": "other"}}, {"context": "GATEWAY"}):
        proxy = Sidecar(job, app, [source.facts["grpc_addr"]], **place)
        try:
            assert status(proxy, None) == 200
        finally:
            proxy.end()


def test_a_gateway(job, app, source, alice):
    proxy = Sidecar(job, app, [source.facts["grpc_addr"]], "--context", "gateway", context="GATEWAY")
    try:
        passes(proxy, alice.login())
        assert status(proxy, None) == 401
    finally:
        proxy.end()


def test_the_selector_is_needed(job):
    assert "--selector" in job.command("mesh", "istio-config").stderr
    for bad in (["--selector", "app"], ["--selector", "app=shop", "--namespace", "No"]):
        said = job.command("mesh", "istio-config", *bad)
        assert said.returncode == 1 and said.stdout == "", said
