"""Envoy checks tokens by itself (deploy/envoy/jwt_authn.yaml): what it knows of keys, and what it does not know."""

import base64
import json

import pytest

from actors import User
from asked import SPOOFED, allowed, ask, bearer
from processes import wait_until
from proxies import JwtAuthn
from test_envoy import broken_signature


@pytest.fixture(scope="module")
def home(job):
    """A deployment of its own, because keys are killed here."""
    return job.dev("keys", "--audience", "internal,billing")


@pytest.fixture(scope="module")
def envoy(start, home):
    return start(JwtAuthn, home, ("cache_duration: 60s", "cache_duration: 1s"))


@pytest.fixture
def kill(job, home):
    """Kills the key that signed a token, as in an emergency."""

    def kill(token):
        head = token.partition(".")[0]
        kid = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"]
        settings = {"COUNTERSIGN_DATABASE_URL": home.facts["database_url"]}
        settings["COUNTERSIGN_MASTER_KEY_FILE"] = home.facts["master_key_file"]
        done = job.command("keys", "kill", kid, **settings)
        assert done.returncode == 0 and f"killed {kid}" in done.stdout, done

    return kill


def status(envoy, token):
    return ask(envoy.port, "/orders", bearer(token)).status


def test_envoy_checks_tokens_by_itself(envoy, home):
    carol, boss = User(home.client, "carol", roles=["reader"]), User(home.client, "boss", roles=["staff"])
    token = carol.login(audience=["internal"]).access_token
    answer = allowed(ask(envoy.port, "/orders", bearer(token) + SPOOFED), carol)
    assert b"spoofed" not in answer.body and len(answer.seen("x-auth-session-id")) == 1
    assert b"spoofed" not in allowed(ask(envoy.port, "/public/x", SPOOFED)).body
    for headers in ([], bearer("nonsense"), bearer(broken_signature(token))):
        answer = ask(envoy.port, "/orders", headers + SPOOFED)
        assert answer.status == 401 and answer.get("www-authenticate").startswith("Bearer"), answer
    assert status(envoy, carol.login(audience=["billing"]).access_token) == 403
    for path in ("/admin", "/admin/x", "/ADMIN", "/x/../admin"):
        assert ask(envoy.port, path, bearer(token)).status == 403, path
    allowed(ask(envoy.port, "/admin/x", bearer(boss.login().access_token)), boss)


def test_a_revoked_token_goes_on_until_it_expires(envoy, home):
    tokens = User(home.client, "dora").login()
    home.client.call("Revoke", refresh_token=tokens.refresh_token)
    home.client.refused("TOKEN_REVOKED", "Verify", access_token=tokens.access_token)
    assert status(envoy, tokens.access_token) == 200


def test_a_killed_key_is_dead_when_envoy_fetches_and_the_next_one_is_known_before(envoy, home, kill):
    erin = User(home.client, "erin")
    token = erin.login().access_token
    assert status(envoy, token) == 200
    kill(token)
    # The next key was published long before it signs.
    successor = wait_until("the next key signs", lambda: signed_by_another(erin.login().access_token, token), 30)
    assert status(envoy, successor) == 200
    wait_until("Envoy has fetched the keys", lambda: status(envoy, token) == 401, 30)
    assert status(envoy, erin.login().access_token) == 200


def signed_by_another(token, other):
    return token if token.partition(".")[0] != other.partition(".")[0] else None


def test_keys_go_on_while_countersign_is_away(start, job, home):
    away = job.serve("keys-away", home, "--audience", "internal,billing")
    envoy = start(JwtAuthn, away, ("cache_duration: 60s", "cache_duration: 1s"))
    token = User(home.client, "frank").login().access_token
    wait_until("Envoy has the keys", lambda: status(envoy, token) == 200, 30)
    assert away.end() == []
    seen = {status(envoy, token) for _ in range(50)}
    assert seen == {200}
