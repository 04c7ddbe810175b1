"""What revocation inside the proxy costs: `run BINARY --told`.

Envoys with lists of 1, 1000 and 100,000 entries, beside the ways without lists, as mesh.py has them. Each list is of a
server of its own. The processor time is that of the Envoy alone, divided by the requests of a round. The ways take turns
in random order. Other work on the machine makes each request dearer, so look at the least of the rounds, too.
"""

import argparse
import pathlib
import random
import statistics
import tempfile
import types

from common import machine, number, table
from mesh import Application, Dev, passes, wrk
from processes import wait_until
from proxies import Envoy, HttpService, JwtAuthn
from pushes import cpu, pushes
from reflected import Client
from secrets_seen import Seen
from test_told_many import revoke_unknown
from told import Told, refused

SIZES = {"lists of 1": 1, "lists of 1000": 1000, "lists of 100,000": 100_000}


class Unlisted(Told):
    """The printed configuration without what refuses sessions: the filter that verifies tokens is alone."""

    def text(self, printed):
        before, first, rest = printed.partition("          # A token that lacks a claim")
        _, router, after = rest.partition("          - name: envoy.filters.http.router")
        assert first and router, "the printed configuration has changed"
        return before + router + after


def requests(options, directory, application, job, running):
    """A row for each way."""
    servers = {size: Dev(options.binary.resolve(), directory, f"dev-{size}") for size in SIZES.values()}
    running.extend(servers.values())
    plain = servers[1]
    tokens = {server: server.token() for server in servers.values()}
    envoys = {kind: kind(job, application, plain.facts) for kind in (Envoy, JwtAuthn, HttpService)}
    running.extend(envoys.values())
    told = {way: Told(job, application, [servers[size].facts["grpc_addr"]]) for way, size in SIZES.items()}
    told["jwt_authn as printed, no lists"] = Unlisted(job, application, [plain.facts["grpc_addr"]])
    running.extend(told.values())
    ways = {
        "no auth": (envoys[Envoy], "/public/x", plain),
        "jwt_authn of deploy/": (envoys[JwtAuthn], "/orders", plain),
        "jwt_authn as printed, no lists": (told["jwt_authn as printed, no lists"], "/orders", plain),
        **{way: (told[way], "/orders", servers[size]) for way, size in SIZES.items()},
        "ext_authz (gRPC)": (envoys[Envoy], "/orders", plain),
        "forward auth (HTTP)": (envoys[HttpService], "/orders", plain),
    }
    url = lambda way: f"http://127.0.0.1:{ways[way][0].port}{ways[way][1]}"
    token = lambda way: tokens[ways[way][2]]
    for way in ways:
        wait_until(f"{way} passes", lambda way=way: passes(url(way), token(way)), 30)
    for way, size in SIZES.items():
        told_of(told[way], servers[size], size)
    runs = {way: [] for way in ways}
    for way in ways:
        wrk(url(way), token(way), 4, 1)
    for _ in range(options.rounds):
        for way in random.sample(list(ways), len(ways)):
            proxy, _, server = ways[way]
            p50 = wrk(url(way), token(way), 1, options.seconds)[1]
            processes = proxy.process, server.process
            before = [cpu(process) for process in processes]
            rate = wrk(url(way), token(way), 64, options.seconds)[0]
            spent = [cpu(process) - then for process, then in zip(processes, before, strict=True)]
            runs[way].append((rate, p50, *(each / (rate * options.seconds) * 1e6 for each in spent)))
    return runs


def told_of(proxy, server, count):
    """Ends as many sessions, and waits until the proxy has heard of the last one."""
    client = Client(server.facts["grpc_addr"], Seen())
    revoke_unknown(client, max(0, count - 1))
    last = client.call("Login", **{name: server.facts[name] for name in ("username", "password")}).tokens
    client.call("Revoke", session_id=last.session_id)
    refused(proxy, last, 60)


def report(runs):
    median = lambda way, place: statistics.median(run[place] for run in runs[way])
    base = [run[2] for run in runs["jwt_authn as printed, no lists"]]
    rows = []
    for way, rounds in runs.items():
        over = statistics.median(run[2] - alone for run, alone in zip(rounds, base, strict=True))
        figures = [number(median(way, place)) for place in range(3)]
        rows.append([way, *figures, f"{over:+.1f}", f"{min(run[2] for run in rounds):.1f}", number(median(way, 3))])
    head = ["", "requests/s at 64 connections", "p50 at 1, ms", "Envoy's CPU, µs a request"]
    head += ["over jwt_authn as printed", "least of the rounds, µs", "Countersign's CPU, µs a request"]
    return table(head, rows)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("binary", type=pathlib.Path)
    options.add_argument("--told", action="store_true", help="chooses this mode")
    options.add_argument("--seconds", type=int, default=1, help="of each measurement")
    options.add_argument("--rounds", type=int, default=20, help="of which the median counts")
    options.add_argument("--revocations", type=int, default=200, help="for the cost of a push")
    options.add_argument("--times", type=int, default=300, help="revocations whose refusal is waited for")
    options = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="countersign-bench-", dir="/tmp") as directory:
        directory = pathlib.Path(directory)
        directory.chmod(0o755)
        job, running = types.SimpleNamespace(dir=directory, binary=options.binary.resolve()), []
        try:
            facts = machine()
            application = Application(directory)
            running.append(application)
            print(report(requests(options, directory, application, job, running)), flush=True)
            while len(running) > 1:
                running.pop().end()
            dev = Dev(options.binary.resolve(), directory)
            running.append(dev)
            print("\n" + pushes(options, directory, dev, application, job, running))
            how = f"{facts['date']}, commit {facts['commit']}, {facts['cores']} cores ({facts['cpu']}), "
            print(f"\n{how}load before {facts['load_before']:.1f}. All processes share these cores.")
        finally:
            for process in reversed(running):
                process.end()


main()
