"""The document of a run, from its figures.

    python3 benches/scale/document.py RESULTS DOCS
"""

import json
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from calls import HASHES
from common import NOISE, number, table

COST, TAIL = 1.2, 1.2
FILE = "benchmarks-scale.md"

TEXT = """\
# Benchmarks at scale

What calls cost with {large} sessions, beside {small}; what deleting expired sessions does to others; what it takes of
memory and disk. Made by `just bench-scale` (`benches/scale`), which writes this file anew. Client, servers and both
Postgres share the machine: the ratios say more than the figures.

- {date}, commit {commit}, {rustc}
- {cores} cores of {cpu}, {memory} of memory, {system}; load of the machine before the run: {load_before:.2f}{noise}
- Postgres {postgres[version]}, shared_buffers {postgres[shared_buffers]}, {huge_pages} huge pages reserved,
  data checksums, commits synced, no checkpoint within the rounds

## Goals

A call may cost {cost} times as much, server and database together: the median of what the rounds say, each beside the one
that came just before or after it at the other size, and their range.

| goal | figure | met |
| --- | --- | --- |
{goals}

## Cost of a call

CPU microseconds for each call, as `{small}, {large}`: the lowest of {rounds} rounds that alternate between the two. The
client makes 64 calls at a time (8 connections with 8 streams), each of another session, all over the table, or of a user
drawn at random. Database is all processes of Postgres. Ratios are of the lowest; by rounds, as above.

{calls}

Bytes of Postgres' log and pages mapped are medians, for each call.

- **Refresh** is the first of a session since the checkpoint. When a page is changed for the first time after a checkpoint,
  Postgres writes an image of it into its log (`full_page_writes`). The few pages of {small} sessions soon have been
  written; of {large} nearly each call meets a new one. **Refresh, again** is the same sessions once more. Revoke,
  Login and DeleteUser write pages of the table and of its indexes likewise.
- **Pages mapped**: each process of Postgres maps a page of the shared memory (4 KiB; 2 MiB where huge pages are reserved)
  when it first touches it, which costs more than reading it. With {small} sessions that has soon been done.
- {hashes} hash a password, which hides the rest. ListSessions gives 100 sessions, ListUsers
  100 users; a DeleteUser deletes 100 sessions. A user's sessions lie on some 40 pages at either size.
- Verify asks no database: what is seen there is what server and Postgres do by themselves.
- Not measured: ChangePassword, which is a Login and a SetPassword; GetJwks and WatchRevocations, which read no table of
  sessions or users.

## Clean-up while serving

A server deletes what has expired in turns, 30 seconds apart, of 32 statements of 1000 sessions each. {expired} of the
{large} sessions were made to be expired. In {seconds} s of load {deleted} of them were deleted (rows counted before and after);
{turns} whole turns were seen, which took {lengths} s.

Latency in milliseconds, from when a call was due (open loop). Beside a turn are the five seconds before it and after it;
there and in a turn, the figures are medians over the turns.

{cleanup}

## Memory and disk

MiB. Resident memory of the server before and after the rounds; of Postgres the shared memory in use (counted once) and
what its processes have to themselves, after the rounds.

{places}

## How

```
just bench-scale            # all of it, {minutes}
just bench-scale --quick    # a smoke run, into target/bench
```

| figure | command |
| --- | --- |
| seed | `countersign migrate`, then `countersign-bench seed --users {users} --sessions {sessions} --json` |
| cost | `pg_prewarm` of all tables and indexes, CHECKPOINT, `countersign serve`, and the client of `benches/scale` (`calls.py`) |
| clean-up | the same server and database after the rounds (`cleanup.py`) |
| memory | `VmRSS` of the server; `Pss_Shmem` and `Pss_Anon` of the processes of Postgres |
| disk | `pg_table_size` of table and indexes |
"""
MINUTES = "10 to 15 minutes, 10 GB of disk"


def short(count):
    count = int(count)
    return f"{count // 10**6}M" if count % 10**6 == 0 else f"{count // 1000}k"


class Cost:
    """Of a call at one place."""

    def __init__(self, rounds, choose):
        self.server = choose([one["server"] for one in rounds])
        self.database = choose([one["database"] for one in rounds])
        self.both = choose([one["server"] + one["database"] for one in rounds])
        self.wal = choose([one["wal"] for one in rounds])
        self.faults = choose([one["faults"] for one in rounds])


def costs(small, large, name):
    """The lowest and the medians of both places."""
    return [[Cost(place["figures"][name], choose) for place in [small, large]] for choose in [min, statistics.median]]


def ratios(small, large, name):
    """Of server and database together, round by round: what is slow for a minute is so for both places."""
    both = [[one["server"] + one["database"] for one in place["figures"][name]] for place in [small, large]]
    return [b / a for a, b in zip(*both)]


def calls_table(small, large):
    rows = []
    for name in small["figures"]:
        lowest, medians = costs(small, large, name)
        pair = lambda costs, part: ", ".join(number(getattr(cost, part)) for cost in costs)
        # Of next to nothing there is no ratio.
        ratio = lambda a, b: f"{b / a:.2f}" if a > 3 else ""
        parts = [ratio(*(getattr(cost, part) for cost in lowest)) for part in ["server", "database"]]
        used = [pair(lowest, "server"), pair(lowest, "database")]
        rest = [pair(medians, "wal"), pair(medians, "faults")]
        both = [ratio(*(cost.both for cost in lowest)), f"{statistics.median(ratios(small, large, name)):.2f}"]
        rows.append([name, *used, *parts, *both, *rest])
    head = ["call", "server us", "database us", "ratio: server", "database", "both", "both, by rounds", "bytes of log"]
    return table([*head, "pages mapped"], rows)


def turn(figures, part, quantile):
    """The median over the turns: of the turn itself, or of what is beside it."""
    return statistics.median(pair[part][quantile] for pair in figures["turns"])


def cleanup_table(report):
    rows = []
    for name, figures in report["calls"].items():
        label = f"{name}, {figures['rate']}/s"
        for what, when in [("between", "between turns"), ("all", "all of the time")]:
            rows.append([f"{label}, {when}", figures[what]["calls"], number(figures[what]["p50"]), number(figures[what]["p99"])])
        for part, when in [(1, "beside a turn"), (0, "in a turn")]:
            latencies = [number(turn(figures, part, quantile)) for quantile in ["p50", "p99"]]
            rows.append([f"{label}, {when}", sum(pair[part]["calls"] for pair in figures["turns"]), *latencies])
    return table(["load", "calls", "p50", "p99"], rows)


def places_table(places):
    sizes = list(next(iter(places.values()))["size"])
    after = lambda place, what: number(place["memory_after"][what])
    lines = {
        "server before": lambda place: number(place["memory_before"]["server"]),
        "server after": lambda place: after(place, "server"),
        "Postgres, shared": lambda place: after(place, "postgres_shared"),
        "Postgres, private": lambda place: after(place, "postgres_private"),
        **{f"disk: {name}": lambda place, name=name: number(place["size"][name]) for name in sizes},
        "bytes of disk for each session": lambda place: number(place["size"]["database"] * 2**20 / place["users"] / 100),
        "seconds of the seed": lambda place: number(place["seed_seconds"]),
    }
    return table(["", *(short(count) for count in places)], [[name, *map(line, places.values())] for name, line in lines.items()])


def goals_table(small, large, report):
    verdict = lambda values, limit: "yes" if max(values) <= limit else "no" if min(values) > limit else "not clear"
    rows = []
    for name in small["figures"]:
        by_rounds = ratios(small, large, name)
        middle = statistics.median(by_rounds)
        figure = f"{middle:.2f} ({min(by_rounds):.2f} to {max(by_rounds):.2f})"
        rows.append([name, figure, verdict([middle], COST)])
    for name, figures in report["cleanup"]["calls"].items():
        inside = statistics.median(pair[0]["p99"] / pair[1]["p99"] for pair in figures["turns"])
        times = [figures["all"]["p99"] / figures["between"]["p99"], inside]
        figure = f"{times[0]:.2f} all of the time to between turns, {times[1]:.2f} in a turn to beside it"
        rows.append([f"p99 of {name} unchanged (to {TAIL} times) by the clean-up", figure, verdict(times, TAIL)])
    seconds = large["seed_seconds"]
    rows.append(["seeding: minutes", f"{seconds / 60:.1f} minutes", "yes" if seconds < 600 else "no"])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write(results, docs):
    report = json.loads((results / "scale.json").read_text())
    places, clean = report["places"], report["cleanup"]
    (small_name, small), (large_name, large) = places.items()
    text = TEXT.format(
        **report["machine"],
        noise=NOISE if report["machine"]["load_before"] > 0.5 else "",
        small=short(small_name),
        large=short(large_name),
        postgres=report["postgres"],
        rounds=report["rounds"],
        cost=COST,
        goals=goals_table(small, large, report),
        calls=calls_table(small, large),
        hashes=", ".join(HASHES[:-1]) + " and " + HASHES[-1],
        expired=clean["expired"],
        deleted=clean["deleted"],
        seconds=clean["seconds"],
        turns=len(clean["turns"]),
        lengths=", ".join(f"{length:.1f}" for length in clean["turns"]),
        cleanup=cleanup_table(clean),
        places=places_table(places),
        minutes=MINUTES,
        users=large["users"],
        sessions=large_name,
    )
    docs.mkdir(parents=True, exist_ok=True)
    (docs / FILE).write_text(text)
    return docs / FILE


if __name__ == "__main__":
    write(*map(pathlib.Path, sys.argv[1:3]))
