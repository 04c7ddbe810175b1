"""The stories of test_xds.py, told by maps that Envoy marks as stable instead of lists of names."""

import json
import urllib.request

import pytest

from actors import User
from test_xds import (  # noqa: F401
    test_a_user_who_is_disabled_is_refused_and_passes_once_enabled_again,
    test_all_sessions_of_a_user_end_and_new_ones_pass,
    test_nothing_open_leads_elsewhere,
    test_tokens_are_verified_and_sessions_refused_that_have_ended,
)
from told import TTL, Told, passes, refused


@pytest.fixture(scope="module")
def source(job, dev):
    settings = ["--audience", "internal,billing", "--proxy-ttl", f"{TTL}s", "--proxy-lists", "exact"]
    return job.serve("told-exactly-by", dev, *settings)


@pytest.fixture(scope="module")
def alice(client):
    """One of its own: a list that is made anew only once a minute knows few of the epochs that a user will have."""
    return User(client, "alice", roles=["reader"])


@pytest.fixture(scope="module")
def told(job, app, source):
    proxy = Told(job, app, [source.facts["grpc_addr"]])
    yield proxy
    proxy.end()


def test_no_matcher_is_used_that_envoy_does_not_call_stable(told, source, alice, client):
    tokens = alice.login()
    passes(told, tokens)
    client.call("Revoke", session_id=tokens.session_id)
    refused(told, tokens)
    with urllib.request.urlopen(f"http://127.0.0.1:{told.more_port}/config_dump", timeout=5) as answer:
        dump = json.dumps(json.load(answer))
    assert "exact_match_map" in dump and tokens.session_id in dump
    # Its name alone is among the extensions that this Envoy has.
    assert '"@type": "type.googleapis.com/xds.type.matcher.v3.ServerNameMatcher"' not in dump
    assert "stable" not in told.log.read_text(), told.log.read_text()
