"""Many revocations: all reach the proxy, in few pushes, and neither side keeps more of them than it needs."""

import subprocess
import time
import urllib.request
import uuid
from collections import deque
from pathlib import Path

from processes import environment, wait_until
from told import passes, refused, status

BASES = 4
# The most that the sides may grow by. Measured after 100,000 at once: 90 MB at the server, and 16 MB at Envoy.
SERVER_BYTES, ENVOY_BYTES = 1500, 300
SLACK = 48_000_000
# Pushes of the recent list: measured are 25 to 45 revocations for each. A base is made for each 1000.
REVOCATIONS_IN_A_PUSH, REVOCATIONS_IN_A_BASE = 4, 1000

EXPIRING = "dead5e55-0000-4000-8000-"
# As the server writes them (src/store/revocations.rs), but for the end.
INSERT = f"""
WITH made AS MATERIALIZED (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 3000) n),
head AS (UPDATE revocation_head SET seq = seq + 3000, id = (SELECT id FROM made WHERE n = 3000) RETURNING seq)
INSERT INTO revocations (seq, id, kind, subject, expires_at, revoked_at, reason)
SELECT head.seq - 3000 + n, made.id, 'session', ('{EXPIRING}' || lpad(to_hex(n), 12, '0'))::uuid,
  now() + interval '6 seconds', now(), 'logout' FROM head, made
"""


def revoke_unknown(client, count):
    """Sessions that the database does not know end as any other: they are logged, and proxies are told."""
    calls = deque()
    for _ in range(count):
        calls.append(client.start("Revoke", session_id=str(uuid.uuid4()), wait={"nanos": 1}))
        if len(calls) == 128:
            calls.popleft().result()
    for call in calls:
        call.result()


def resident(server):
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def pushes(proxy, of):
    return proxy.stat(f"extension_config_discovery.http_filter.{of}.update_success")


def admin(proxy, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{proxy.more_port}{path}", timeout=30) as answer:
        return answer.read().decode()


def allocated(proxy):
    return int(admin(proxy, "/memory").partition('"allocated": "')[2].partition('"')[0])


def test_many_revocations_take_few_pushes_and_bounded_memory(request, start_told, source, alice, client):
    """They are spread over bases, which the proxy has confirmed before they leave its recent list."""
    count = request.config.getoption("--revocations")
    proxy = start_told(source.facts["grpc_addr"], settings=["--bases", str(BASES)])
    alive, *dead = [alice.login() for _ in range(6)]
    for tokens in (alive, *dead):
        passes(proxy, tokens)
    base, recent = f"countersign-base-0-of-{BASES}", "countersign-recent"
    before = resident(source), allocated(proxy), pushes(proxy, recent), pushes(proxy, base)
    begun, took = time.monotonic(), []
    for tokens in dead:
        client.call("Revoke", session_id=tokens.session_id)
        revoke_unknown(client, count // len(dead) - 1)
    elapsed = time.monotonic() - begun
    for tokens in reversed(dead):
        took.append(refused(proxy, tokens))
    assert status(proxy, alive) == 200
    after = resident(source), allocated(proxy), pushes(proxy, recent), pushes(proxy, base)
    server, envoy, recents, bases = (now - then for then, now in zip(before, after, strict=True))
    print(f"{count} revocations in {elapsed:.1f} s, the last was refused {took[0] * 1000:.0f} ms later")
    print(f"{recents} pushes of the recent list and {bases} of a base")
    print(f"for each {server / count:.0f} bytes at the server, and {envoy / count:.0f} at Envoy")
    assert recents < count / REVOCATIONS_IN_A_PUSH and bases < count / REVOCATIONS_IN_A_BASE + 3
    assert server < SLACK + SERVER_BYTES * count and envoy < SLACK / 8 + ENVOY_BYTES * count
    names = [f"base-{part}-of-{BASES}" for part in range(BASES)] + ["recent", "opened", "tokens"]
    rejected = "extension_config_discovery.http_filter.countersign-{}.update_rejected"
    assert [proxy.stat(rejected.format(name)) for name in names] == [0] * len(names)
    assert "refuses what it is told" not in source.err.read_text()


def test_what_has_expired_leaves_the_lists(start_told, source, dev, alice, client):
    """Their tokens have expired too by then."""
    proxy = start_told(source.facts["grpc_addr"])
    alive, dead = alice.login(), alice.login()
    passes(proxy, dead)
    client.call("Revoke", session_id=dead.session_id)
    refused(proxy, dead)
    held = lambda: admin(proxy, "/config_dump").count(EXPIRING)
    database = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", dev.facts["database_url"], "-c", INSERT]
    subprocess.run(database, check=True, env=environment())
    begun = time.monotonic()
    wait_until("the proxy has them", lambda: held() >= 3000, 10)
    while time.monotonic() - begun < 7:
        assert (status(proxy, alive), status(proxy, dead)) == (200, 401)
    # More than are recent lead to a new base.
    revoke_unknown(client, 1200)
    wait_until("they are gone", lambda: held() == 0, 30)
    assert (status(proxy, alive), status(proxy, dead)) == (200, 401)
