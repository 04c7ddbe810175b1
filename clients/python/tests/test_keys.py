"""Keys that are rotated and killed while threads and tasks verify."""

import asyncio
import base64
import json
import subprocess
import threading
import time

import pytest

from actors import User
from helpers import reason_of, until_true

BOUND = 10


def kid_of(token):
    header = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"]


@pytest.fixture(scope="module")
def keys(job):
    """`countersign keys`, on the database of a deployment of its own."""
    server = job.dev("keys")

    def run(*words):
        facts = server.facts
        database = ["--database-url", facts["database_url"], "--master-key-file", facts["master_key_file"]]
        done = job.command("keys", *words, *database)
        assert done.returncode == 0, done.stderr

    def rotate():
        # As if the next key had been published for a day.
        aged = "UPDATE keys SET stage_at_ms = stage_at_ms - 86400000"
        subprocess.run(["psql", "-qc", aged, server.facts["database_url"]], check=True)
        run("rotate")

    server.keys, server.rotate = run, rotate
    return server


class Load:
    """Threads, and a loop of tasks, that verify all tokens of a list all the while."""

    def __init__(self, verifier):
        self.verifier, self.tokens, self.wrong, self.looks = verifier, [], [], 0
        self.over = threading.Event()
        works = [self.verify, self.verify, lambda: asyncio.run(self.averify())]
        self.threads = [threading.Thread(target=work) for work in works]
        for thread in self.threads:
            thread.start()

    def verify(self):
        while not self.over.is_set():
            for token in self.tokens[-20:]:
                self.note(token, reason_of(self.verifier.verify, token))
            # The follower needs the interpreter too.
            time.sleep(0.001)

    async def averify(self):
        async def one(token):
            try:
                await self.verifier.averify(token)
            except Exception as error:
                self.note(token, str(error))
            else:
                self.note(token, None)

        while not self.over.is_set():
            await asyncio.gather(*(one(token) for token in self.tokens[-20:]))
            await asyncio.sleep(0.001)

    def note(self, token, reason):
        self.looks += 1
        if reason is not None:
            self.wrong.append((kid_of(token), reason))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(10)


def test_no_valid_token_is_refused_while_keys_rotate(keys, verifier_of):
    user = User(keys.client, "rotated")
    # One without a memory, so that each look needs the key.
    loads = [Load(verifier_of(keys, remembered=remembered)) for remembered in (10_000, 0)]
    tokens = user.login()
    before, kids = kid_of(tokens.access_token), []

    def another():
        nonlocal tokens
        tokens = keys.client.call("Refresh", refresh_token=tokens.refresh_token).tokens
        kids.append(kid_of(tokens.access_token))
        for load in loads:
            load.tokens.append(tokens.access_token)
        return kids[-1] != before

    rotation = threading.Thread(target=keys.rotate)
    rotation.start()
    try:
        until_true("the next key signs", another, 20)
        for _ in range(50):
            another()
    finally:
        rotation.join(30)
        for load in loads:
            load.end()
    assert [load.wrong for load in loads] == [[], []] and all(load.looks > 200 for load in loads)
    assert kids.count(before) > 1 and len(set(kids)) == 2


def test_a_key_that_is_killed_takes_its_tokens_at_once(keys, verifier_of):
    user = User(keys.client, "killed")
    verifier = verifier_of(keys, max_staleness=BOUND)
    tokens = [user.login().access_token for _ in range(5)]
    over, last = threading.Event(), [0.0] * 3

    def work(place):
        while not over.is_set():
            for token in tokens:
                asked = time.monotonic()
                if reason_of(verifier.verify, token) is None:
                    last[place] = asked
            time.sleep(0.0005)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(last))]
    for thread in threads:
        thread.start()
    try:
        until_true("they are accepted", lambda: all(last), 5)
        keys.keys("kill", kid_of(tokens[0]))
        killed = time.monotonic()
        until_true("none is accepted", lambda: time.monotonic() - max(last) > 0.5, 5)
        time.sleep(2)
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
    print(f"the last was accepted {(max(last) - killed) * 1000:.1f} ms after the key was killed")
    assert max(last) - killed < 0.8
    assert {reason_of(verifier.verify, token) for token in tokens} == {"TOKEN_SIGNATURE_INVALID"}
    until_true("others are accepted", lambda: reason_of(verifier.verify, user.login().access_token) is None, 3)
