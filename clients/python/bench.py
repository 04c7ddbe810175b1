"""Measures the verifier: tokens that were verified before, others, a bare signature, and how long a dead token lives.

    PYTHONPATH=. .venv/bin/python bench.py BINARY

Or the memory that so many revocations take, a million unless said:

    PYTHONPATH=. .venv/bin/python bench.py --revocations [COUNT]
"""

import gc
import os
import statistics
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "clients"))

from actors import User  # noqa: E402
from processes import Job  # noqa: E402

from countersign import CountersignError, Verifier, clock  # noqa: E402
from countersign._json import decoded  # noqa: E402
from countersign._proto import auth_pb2 as pb  # noqa: E402
from countersign.knowledge import Knowledge, Stream  # noqa: E402

HITS, ROUNDS, ENDED = 100_000, 3, 200


def each(work, things):
    """The least nanoseconds for each of these, of a few rounds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter_ns()
        for thing in things:
            work(thing)
        took.append((time.perf_counter_ns() - began) / len(things))
    return min(took)


def until_refused(verifier, server, tokens):
    """Milliseconds from the answer to Revoke until the token is refused."""
    verifier.verify(tokens.access_token)
    server.client.call("Revoke", refresh_token=tokens.refresh_token)
    began = time.perf_counter_ns()
    while True:
        try:
            verifier.verify(tokens.access_token)
        except CountersignError:
            return (time.perf_counter_ns() - began) / 1e6
        # The follower needs the interpreter too.
        time.sleep(0)


def measure(server):
    url = f"http://{server.facts['grpc_addr']}"
    user = User(server.client, "bench")
    tokens = [user.login() for _ in range(ENDED)]
    texts = [pair.access_token for pair in tokens]
    with Verifier(url, remembered=0) as misses, Verifier(url) as hits:
        misses.ready(10)
        hits.ready(10)
        print(f"hit: {each(hits.verify, [texts[0]] * HITS):.0f} ns")
        print(f"miss: {each(misses.verify, texts * 10):.0f} ns")
        key = next(iter(misses._knowledge._keyed.keys.values()))
        head, _, sealed = texts[0].rpartition(".")
        message, signature = head.encode(), decoded(sealed)
        assert key.verifies(message, signature)
        print(f"bare signature: {each(lambda _: key.verifies(message, signature), range(2000)):.0f} ns")
        ends = sorted(until_refused(hits, server, pair) for pair in tokens)
        p99 = statistics.quantiles(ends, n=100)[98]
        print(f"refused after Revoke answered: p50 {statistics.median(ends):.2f} ms, p99 {p99:.2f} ms")


def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def snapshot_part(count, began):
    """A part of a snapshot as it comes over the wire: sessions that were revoked one after the other in three hours."""
    part = pb.WatchRevocationsResponse()
    part.snapshot.SetInParent()
    for place in range(count):
        revocation = part.snapshot.revocations.add()
        revocation.session_id = str(uuid.uuid4())
        revocation.expires_at.seconds = int(began + 10_800 * place / count)
        revocation.expires_at.nanos = place
    return pb.WatchRevocationsResponse.FromString(part.SerializeToString())


def measure_memory(count):
    knowledge, began = Knowledge(10, 0, 0), clock.now()
    stream = Stream(began)
    knowledge.hear(stream, snapshot_part(10, began.wall), clock.now())
    before, took = resident(), 0
    for _ in range(count // 10_000):
        part = snapshot_part(10_000, began.wall)
        started = time.perf_counter_ns()
        knowledge.hear(stream, part, clock.now())
        took += time.perf_counter_ns() - started
        del part
    print(f"{count} revocations: {(resident() - before) / count:.0f} bytes and {took / count / 1000:.1f} us for each")
    started = time.perf_counter_ns()
    knowledge.forget_expired(clock.now())
    print(f"a look for those that are over: {(time.perf_counter_ns() - started) / 1e6:.0f} ms")


def main():
    if sys.argv[1] == "--revocations":
        measure_memory(int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
        return
    job = Job(sys.argv[1])
    measure(job.dev("bench"))
    job.finish()


if __name__ == "__main__":
    main()
