"""Tables (Markdown) and plots (SVG) from the results of a run.

    python3 benches/load/document.py RESULTS DOCS
"""

import json
import math
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from common import NOISE, number, table

COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 80, 170, 40, 60

TEXT = """\
# Benchmarks under load

What one server answers over gRPC, beside what this machine can do at most. Made by `just bench` (`benches/load`), which
writes this file and its plots anew. The load generator, the server and Postgres share the machine, so the ratios say more
than the figures.

Everything is measured in turns, {rounds} rounds of {seconds:g} s each, because other work on the machine takes from some rounds
and not from others. A figure is the best of its rounds; in brackets stands the median of the ratios within each round.

- {date}, commit {commit}, {rustc}
- {cores} cores of {cpu}, {memory} of memory, {system}; load of the machine before the run: {load_before:.2f}{noise}
- {users} users and {sessions} sessions seeded in {seed_seconds:.0f} s

## Reference points

Measured in the same rounds (`countersign-bench reference`). The empty call is served by the same port set-up as ours, in a
process of its own: 400 bytes in, 150 bytes out.

{reference}

## Calls

A closed loop: each stream calls again when it has its answer. CPU is that of the server's process, for each call; the
generator's own stands beside it. The reference of a call is what it has to do at least:

- Verify of warm, revoked and garbage tokens: the CPU of the empty call
- Verify of cold tokens, and of expired ones, which nobody remembers: that and one EdDSA signature
- VerifyBatch (100 warm tokens): the CPU of the empty call, for one token of the batch
- Login: bare password hashes a second
- Refresh and Revoke: single-row commits a second by as many callers

{calls}

![Calls a second against callers](benchmarks-load-throughput.svg)

## Latency at a given rate

An open loop: calls are due by a schedule whatever the server does, and latency counts from when a call was due (corrected for
coordinated omission). Rates are shares of what a closed loop of 8 x 8 achieves.

{latency}

![Latency against rate](benchmarks-load-latency.svg)

## How

```
just bench            # all of it, several minutes
just bench --quick    # a smoke run, into target/bench
```

A single figure, against any server that runs; `countersign-bench load --help` has all options:

```
export COUNTERSIGN_BENCH_PASSWORD=...
countersign-bench load --target http://127.0.0.1:50051 --username demo --call verify-warm --connections 8 --streams 8
countersign-bench load --target http://127.0.0.1:50051 --username demo --call verify-warm --rate 10000
```

Outside check, with h2load of nghttp2: it sends the same bytes over HTTP/2, and knows nothing of gRPC, so look at the statuses
of a few calls first.

```
countersign-bench body --target http://127.0.0.1:50051 --username demo --call verify-warm --output body
h2load --duration=5 --warm-up-time=1 -c 8 -m 8 -t 1 -d body -H 'content-type: application/grpc' -H 'te: trailers' \\
    http://127.0.0.1:50051/countersign.v1.AuthService/Verify
```
"""
BY_RATE = ["login", "refresh", "revoke-by-id"]


def shape(report):
    return f"{report['connections']} x {report['streams']}"


def callers(report):
    return report["connections"] * report["streams"]


def best_reference(references):
    """The best that the machine did in any round."""
    first, *_ = references
    best = dict(first, empty_call=best_of([run for reference in references for run in reference["empty_call"]]))
    for name in ["eddsa_sign_us", "eddsa_verify_us"]:
        best[name] = min(reference[name] for reference in references)
    best["argon2"] = max((reference["argon2"] for reference in references), key=lambda run: run["per_second"])
    by_tasks = zip(*(reference["commits"] for reference in references))
    best["commits"] = [max(runs, key=lambda run: run["per_second"]) for runs in by_tasks]
    return best


def best_of(reports):
    """Of each shape the round with the highest rate, and the lowest CPU of any."""
    best = []
    for name in dict.fromkeys(map(shape, reports)):
        rounds = [report for report in reports if shape(report) == name]
        fastest = dict(max(rounds, key=lambda report: report["calls_per_second"]))
        for cpu in ["server_cpu_us_per_call", "generator_cpu_us_per_call"]:
            fastest[cpu] = min((report[cpu] for report in rounds if report[cpu]), default=None)
        best.append(fastest)
    return best


def best_runs(runs):
    calls = dict.fromkeys(run["call"] for run in runs)
    reports = {call: best_of([run["report"] for run in runs if run["call"] == call]) for call in calls}
    return [{"call": call, "report": report} for call, best in reports.items() for report in best]


def reference_table(reference):
    rows = [
        [f"empty call, {shape(run)}", number(run["calls_per_second"]), number(run["server_cpu_us_per_call"])]
        for run in reference["empty_call"]
    ]
    rows += [[f"EdDSA {what}, one thread", "", number(reference[f"eddsa_{what}_us"])] for what in ["sign", "verify"]]
    argon2 = reference["argon2"]
    cost = f"m={argon2['memory_kib']}, t={argon2['iterations']}, p={argon2['lanes']}"
    rows.append([f"argon2id {cost}, {argon2['threads']} threads", number(argon2["per_second"]), ""])
    for commits in reference["commits"]:
        driver = number(commits["driver_cpu_us"]) + " (driver)"
        rows.append([f"UPDATE and commit, {commits['tasks']} tasks", number(commits["per_second"]), driver])
    return table(["operation", "a second", "CPU us"], rows)


def ratio(reference, call, report):
    """Of a figure to its reference; None without one."""
    cpu = report["server_cpu_us_per_call"]
    empty = next((run["server_cpu_us_per_call"] for run in reference["empty_call"] if shape(run) == shape(report)), None)
    commits = {run["tasks"]: run["per_second"] for run in reference["commits"]}.get(callers(report))
    rate = report["calls_per_second"]
    if call == "login":
        return rate / reference["argon2"]["per_second"]
    if call in BY_RATE:
        return rate / commits if commits else None
    if not cpu or not empty or "=" in call:
        return None
    if call in ("verify-cold", "verify-expired"):
        return cpu / (empty + reference["eddsa_verify_us"])
    return cpu / 100 / empty if call == "verify-batch" else cpu / empty


def ratios(reference, references, runs, call, report):
    """Of the best figures, and the median of the rounds; in which sense less or more is better."""
    best = ratio(reference, call, report)
    if best is None:
        return ""
    rounds = [run for run in runs if run["call"] == call and shape(run["report"]) == shape(report)]
    each = [ratio(references[run["round"]], call, run["report"]) for run in rounds]
    sense = "of the rate" if call in BY_RATE else "times the CPU"
    return f"{number(best)} ({number(statistics.median(each))}) {sense}"


def calls_table(reference, references, runs):
    rows = []
    for run in sorted(best_runs(runs), key=lambda run: run["call"]):
        report = run["report"]
        latencies = report["calls"][0]["latency_us"]
        figures = [report["calls_per_second"], report["server_cpu_us_per_call"], report["generator_cpu_us_per_call"]]
        figures += [latencies["p50"], latencies["p99"]]
        rows.append([run["call"], shape(report), *map(number, figures), ratios(reference, references, runs, run["call"], report)])
    head = ["call", "connections x streams", "calls/s", "server CPU us", "generator CPU us", "p50 us", "p99 us", "to its reference"]
    note = "\n\nOf a mix, latencies are those of its first call." if any("=" in run["call"] for run in runs) else ""
    return table(head, rows) + note


def latency_table(runs):
    rows = []
    for run in runs:
        report = run["report"]
        latencies = report["calls"][0]["latency_us"]
        figures = [report["rate"], report["calls_per_second"], *(latencies[q] for q in ["p50", "p90", "p99", "p99_9", "max"])]
        rows.append([run["call"], *map(number, figures), report["unsent"]])
    return table(["call", "due/s", "made/s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us", "never made"], rows)


def plot(title, x_title, y_title, lines):
    """Lines of points on two logarithmic axes."""
    points = [point for line in lines.values() for point in line if min(point) > 0]
    low_x, high_x = min(x for x, _ in points), max(x for x, _ in points)
    low_y, high_y = 10 ** math.floor(math.log10(min(y for _, y in points))), 10 ** math.ceil(math.log10(max(y for _, y in points)))
    span = lambda value, low, high: math.log(value / low) / math.log(max(high / low, 1.001))
    at_x = lambda x: LEFT + span(x, low_x, high_x) * (WIDTH - LEFT - RIGHT)
    at_y = lambda y: HEIGHT - BOTTOM - span(y, low_y, high_y) * (HEIGHT - TOP - BOTTOM)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{title}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 15}" text-anchor="middle">{x_title}</text>',
        f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{y_title}</text>',
    ]
    power = low_y
    while power <= high_y:
        y = at_y(power)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{power:g}</text>')
        power *= 10
    ticks = sorted({x for x, _ in points})
    # As many as can be read.
    for x in ticks if len(ticks) <= 6 else [ticks[0], ticks[len(ticks) // 2], ticks[-1]]:
        parts.append(f'<line x1="{at_x(x):.1f}" y1="{TOP}" x2="{at_x(x):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        parts.append(f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    for index, (name, line) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if index >= len(COLOURS) or name.endswith("p99") else ""
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in sorted(line) if min(x, y) > 0)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for point in path.split():
            x, y = point.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        y = TOP + 10 + 20 * index
        parts.append(f'<line x1="{WIDTH - RIGHT + 12}" y1="{y}" x2="{WIDTH - RIGHT + 36}" y2="{y}" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 42}" y="{y + 4}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def throughput_plot(reference, runs):
    lines = {"empty call": [(callers(run), run["calls_per_second"]) for run in reference["empty_call"]]}
    for run in runs:
        if "=" not in run["call"]:
            lines.setdefault(run["call"], []).append((callers(run["report"]), run["report"]["calls_per_second"]))
    return plot("Closed loop", "callers (connections x streams)", "calls a second", lines)


def latency_plot(runs):
    lines = {}
    for run in runs:
        for quantile in ["p50", "p99"]:
            point = (run["report"]["rate"], run["report"]["calls"][0]["latency_us"][quantile])
            lines.setdefault(f"{run['call']} {quantile}", []).append(point)
    return plot("Open loop", "calls due a second", "latency, microseconds", lines)


def write(results, docs):
    read = lambda name: json.loads((results / f"{name}.json").read_text())
    machine, references, seed, runs = map(read, ["machine", "reference", "seed", "load"])
    reference = best_reference(references)
    closed = [run for run in runs if run["report"]["rate"] is None]
    opened = [run for run in runs if run["report"]["rate"] is not None]
    text = TEXT.format(
        **machine,
        noise=NOISE if machine["load_before"] > 0.5 else "",
        rounds=len(references),
        seconds=round(min(run["report"]["seconds"] for run in closed if run["call"] == "verify-warm"), 1),
        users=seed["users"],
        sessions=seed["sessions"],
        seed_seconds=seed["seconds"],
        reference=reference_table(reference),
        calls=calls_table(reference, references, closed),
        latency=latency_table(opened),
    )
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "benchmarks-load.md").write_text(text)
    (docs / "benchmarks-load-throughput.svg").write_text(throughput_plot(reference, best_runs(closed)))
    (docs / "benchmarks-load-latency.svg").write_text(latency_plot(opened))


if __name__ == "__main__":
    write(*map(pathlib.Path, sys.argv[1:3]))
