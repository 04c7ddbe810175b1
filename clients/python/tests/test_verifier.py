"""Verifiers and real servers: revocations, outages, keys."""

import asyncio
import base64
import contextlib
import gc
import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from actors import User
from conftest import url
from helpers import outage_of, reason_of, until_true

from countersign import Demand, Forbidden, Unauthenticated, Unavailable, Verifier

BOUND = 3


def test_a_token_says_whose_it_is(dev, alice, verifier_of):
    seen = []
    verifier = verifier_of(dev, audience="internal", on_event=lambda event: seen.append((event.kind, event.reason)))
    tokens = alice.login()
    caller = verifier.verify(tokens.access_token)
    assert (caller.user_id, caller.session_id, caller.roles) == (alice.id, tokens.session_id, ("reader",))
    assert verifier.verify(tokens.access_token, Demand(roles=("reader",))) == caller
    with pytest.raises(Forbidden, match="ROLE_MISSING"):
        verifier.verify(tokens.access_token, Demand(roles=("writer",)))
    assert reason_of(verifier.verify, tokens.access_token, Demand(audience="payroll")) == "TOKEN_AUDIENCE_MISMATCH"
    assert reason_of(verifier.verify, "no.token") == "TOKEN_MALFORMED"
    assert reason_of(verifier.verify, tokens.access_token[:-8] + "AAAAAAAA") == "TOKEN_SIGNATURE_INVALID"
    kinds = [kind for kind, _ in seen]
    assert kinds == ["accepted", "accepted", "refused", "refused", "refused", "refused"], seen


def test_asyncio_does_the_same(dev, alice):
    async def story():
        with Verifier(url(dev)) as verifier:
            await verifier.aready(10)
            tokens = alice.login()
            assert (await verifier.averify(tokens.access_token)).user_id == alice.id
            with pytest.raises(Unauthenticated):
                await verifier.averify("no.token")

    asyncio.run(story())


def test_what_is_revoked_at_one_replica_is_refused_by_who_follows_another(dev, replica, alice, verifier_of):
    verifier = verifier_of(replica)
    first, second = alice.login(), alice.login()
    for tokens, ended in ((first, {"refresh_token": first.refresh_token}), (second, {"user_id": alice.id})):
        token = tokens.access_token
        verifier.verify(token)
        dev.client.call("Revoke", **ended)
        until_true("it is refused", lambda token=token: reason_of(verifier.verify, token) == "TOKEN_REVOKED", 1)
    verifier.verify(alice.login().access_token)


@pytest.mark.parametrize("how", ["cut", "silent"])
def test_an_outage_keeps_the_bound(how, dev, alice, relay, verifier_of):
    lost = []
    verifier = verifier_of(relay, max_staleness=BOUND, on_event=lambda e: e.kind == "lost" and lost.append(e.reason))
    tokens = alice.login()
    verifier.verify(tokens.access_token)
    with getattr(relay, how)():
        began = time.monotonic()
        dev.client.call("Revoke", refresh_token=tokens.refresh_token)
        stale = lambda: outage_of(verifier.verify, tokens.access_token) == "REVOCATIONS_STALE"  # noqa: E731
        until_true("it is an outage", stale, BOUND + 0.3)
        assert time.monotonic() - began <= BOUND + 0.3
        assert not verifier.is_fresh
        until_true("the loss is told", lambda: lost, 5)
    until_true("it hears again", lambda: verifier.is_fresh, 6)
    assert reason_of(verifier.verify, tokens.access_token) == "TOKEN_REVOKED"
    verifier.verify(alice.login().access_token)


def test_another_replica_is_followed_when_one_is_silent(dev, replica, alice, relay, verifier_of, monkeypatch):
    monkeypatch.setattr("countersign._follow.random.randrange", lambda count: 0)
    verifier = verifier_of(relay, replica)
    fails = []
    with relay.silent():
        tokens = alice.login()
        ended = time.monotonic() + 5
        while time.monotonic() < ended:
            fails += [reason] if (reason := reason_of(verifier.verify, tokens.access_token)) else []
            threading.Event().wait(0.02)
        assert fails == []
        replica.client.call("Revoke", refresh_token=tokens.refresh_token)
        until_true("it is refused", lambda: reason_of(verifier.verify, tokens.access_token) == "TOKEN_REVOKED", 1)


def test_a_killed_key_verifies_nothing(job, verifier_of):
    server = job.dev("killed")
    user = User(server.client, "bob")
    verifier = verifier_of(server)
    token = user.login().access_token
    verifier.verify(token)
    header = token.partition(".")[0]
    kid = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]
    database = ["--database-url", server.facts["database_url"], "--master-key-file", server.facts["master_key_file"]]
    done = job.command("keys", "kill", kid, *database)
    assert done.returncode == 0, done.stderr
    until_true("it is refused", lambda: reason_of(verifier.verify, token) == "TOKEN_SIGNATURE_INVALID", 3)
    until_true("others are accepted", lambda: reason_of(verifier.verify, user.login().access_token) is None, 3)


def test_hs256_is_asked_about(job, verifier_of):
    server = job.dev("secret", "--signing-algorithm", "HS256")
    user = User(server.client, "carol", roles=["reader"])
    with pytest.raises(Unavailable, match="SIGNING_KEY_SECRET"):
        verifier_of(server)
    asking = verifier_of(server, fallback="ask")
    tokens = user.login()
    caller = asking.verify(tokens.access_token)
    assert (caller.user_id, caller.session_id, caller.roles) == (user.id, tokens.session_id, ("reader",))
    assert asyncio.run(asking.averify(tokens.access_token)) == caller
    server.client.call("Revoke", refresh_token=tokens.refresh_token)
    assert reason_of(asking.verify, tokens.access_token) == "TOKEN_REVOKED"
    assert reason_of(asking.verify, "é") == "TOKEN_MALFORMED"
    assert reason_of(asking.verify, "\ud800") == "TOKEN_MALFORMED"


def test_asking_a_service_that_is_away_is_an_outage(relay, alice, verifier_of):
    with relay.silent():
        asking = verifier_of(relay, fallback="ask", ready=False)
        began = time.monotonic()
        assert outage_of(asking.verify, alice.login().access_token) is not None
        assert time.monotonic() - began < 2.5


def test_another_issuer_is_not_believed(dev, alice, verifier_of):
    verifier = verifier_of(dev, issuer="https://elsewhere.example.com", ready=False)
    until_true("it says why", lambda: outage_of(verifier.verify, alice.login().access_token) == "ISSUER_MISMATCH", 5)


def test_nothing_runs_on_after_the_last_reference(dev):
    before = threading.active_count()
    verifier = Verifier(url(dev))
    verifier.ready(10)
    del verifier
    gc.collect()
    until_true("its threads end", lambda: threading.active_count() <= before, 5)


def test_a_process_that_was_forked_is_no_danger(dev):
    code = """
import os, sys
from countersign import Unavailable, Verifier
verifier = Verifier(sys.argv[1], max_staleness=2)
verifier.ready(10)
child = os.fork()
if child == 0:
    while verifier.is_fresh:
        pass
    verifier.close()
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
verifier.ready(1)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, url(dev)], check=True, timeout=20, capture_output=True)


@pytest.mark.parametrize("fault", [Exception, SystemExit, GeneratorExit])
def test_a_hook_that_fails_ends_nothing(fault, dev, replica, alice, relay, verifier_of):
    told = []

    def fail(event):
        told.append(event.kind)
        if event.kind == "lost" or fault is Exception:
            raise fault("a defect of a hook")

    verifier = verifier_of(relay, on_event=fail)
    token = alice.login().access_token
    assert verifier.verify(token).user_id == alice.id
    with pytest.raises(Unauthenticated):
        verifier.verify("no.token")
    with relay.cut():
        until_true("the loss is told", lambda: "lost" in told, 5)
    tokens = alice.login()
    dev.client.call("Revoke", refresh_token=tokens.refresh_token)
    until_true("it hears again", lambda: reason_of(verifier.verify, tokens.access_token) == "TOKEN_REVOKED", 6)


def test_what_was_closed_accepts_nothing(dev, alice, verifier_of):
    token = alice.login().access_token
    for fallback in ("refuse", "ask"):
        verifier = verifier_of(dev, fallback=fallback)
        verifier.verify(token)
        verifier.close()
        assert outage_of(verifier.verify, token) == "CLOSED" and not verifier.is_fresh


@pytest.mark.parametrize(
    "settings",
    [
        {"max_staleness": float("nan")},
        {"max_staleness": float("inf")},
        {"max_staleness": -1},
        {"leeway": float("inf")},
        {"remembered": -1},
        {"fallback": "allow"},
        {"audience": ""},
        {"issuer": ""},
        {"service_token": "a b"},
        {"service_token": "a\nb"},
        {"service_token": ""},
    ],
)
def test_settings_that_cannot_be_used(settings):
    with pytest.raises(ValueError):
        Verifier("http://127.0.0.1:9", **settings)


def test_a_demand_of_a_text_is_none():
    with pytest.raises(TypeError):
        Demand(roles="clerk")


STOPPED = """
import sys
from countersign import CountersignError, Verifier
verifier = Verifier(sys.argv[1], max_staleness=float(sys.argv[2]))
verifier.ready(10)
for line in sys.stdin:
    try:
        print(verifier.verify(line.strip()).user_id, flush=True)
    except CountersignError as error:
        print(error.reason, flush=True)
"""


@pytest.mark.parametrize("heard", [False, True])
def test_a_process_that_was_stopped_accepts_nothing_that_was_revoked_meanwhile(heard, dev, alice, relay):
    tokens = alice.login()
    command = [sys.executable, "-c", STOPPED, url(relay), str(BOUND)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:

        def ask():
            child.stdin.write(tokens.access_token + "\n")
            child.stdin.flush()
            return child.stdout.readline().strip()

        try:
            assert ask() == alice.id
            child.send_signal(signal.SIGSTOP)
            stopped = time.monotonic()
            dev.client.call("Revoke", refresh_token=tokens.refresh_token)
            with contextlib.nullcontext() if heard else relay.silent():
                time.sleep(BOUND + 0.1 - (time.monotonic() - stopped))
                # It is there when the process wakes: this is the first that it does.
                child.stdin.write(tokens.access_token + "\n")
                child.stdin.flush()
                child.send_signal(signal.SIGCONT)
                first = child.stdout.readline().strip()
                assert first in (("REVOCATIONS_STALE", "TOKEN_REVOKED") if heard else ("REVOCATIONS_STALE",))
            answers = set()
            until_true("it has heard", lambda: answers.add(ask()) or "TOKEN_REVOKED" in answers, 10)
            assert answers <= {"REVOCATIONS_STALE", "TOKEN_REVOKED"}
        finally:
            child.kill()
